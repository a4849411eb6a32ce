"""Files say who they are: a job takes each input only in its place, of the current version, made from what the job knows."""

import re
from contextlib import suppress
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch
from conftest import Named
from weightspace.autoencoder.settings import AutoencoderConfig
from weightspace.errors import InputError
from weightspace.jobs import MANIFEST, Job, job_of, read_header
from weightspace.predictor.settings import PredictorConfig
from weightspace.recovery.settings import RecoveryConfig
from weightspace.stages import VERSION
from weightspace.store import TrainingState, load_tensors, resumable, save_tensors
from weightspace.table import read_table, write_table

PARAMS = {"recovery": {"num": 3, "share": 0.5}, "version": VERSION["recovery"]}


def job(*inputs, params=PARAMS, **wildcards):
    return job_of(SimpleNamespace(input=list(map(str, inputs)), params=Named(params), wildcards=Named(wildcards)))


def write(path, made, value=0.0):
    """A file of a kind, whose content is one number."""
    if path.suffix == ".parquet":
        write_table(path, pa.table({"value": [value]}), made)
    else:
        folder = path.suffix == ""
        save_tensors(path / MANIFEST if folder else path, {"value": torch.tensor([value])}, {"about": 1}, made)
    return path


def move(path, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    return path.replace(target) and target


KINDS = ["a.safetensors", "a.parquet", "artifacts"]


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    return tmp_path / "results/tiny/recovery/cell/seed-0" / request.param


def refused(told, *inputs, **changes):
    with pytest.raises(InputError, match=told) as error:
        job(*inputs, **changes)
    assert "\n" not in str(error.value)


def test_a_file_in_its_place_is_taken_and_read_as_if_it_said_nothing(path):
    write(path, job())
    assert job(path).made_from == {path.as_posix(): read_header(path).digest}
    if path.suffix == ".parquet":
        assert read_table(path).equals(pa.table({"value": [0.0]}))
    else:
        assert load_tensors(path / MANIFEST if path.suffix == "" else path)[1] == {"about": 1}


@pytest.mark.parametrize("other", ["cell/seed-1/{}", "other/seed-0/{}", "cell/seed-0/b{}"])
def test_a_file_of_another_cell_seed_or_kind_is_one_sentence_that_names_both(path, other):
    write(path, job())
    place = path.parents[2] / other.format(path.name)
    move(path, place)
    written = path / MANIFEST if path.suffix == "" else path
    refused(re.escape(f"{place}: holds {written}, which does not belong there"), place)


def test_a_file_of_another_version_is_one_sentence(path):
    write(path, Job("recovery 0", {}, ""))
    refused(f"made by version recovery 0, the current one is {VERSION['recovery']}", path)


def test_a_file_made_from_what_has_been_replaced_since_is_one_sentence(path):
    source = write(path.with_name("source.safetensors"), job())
    write(path, job(source))
    job(source, path)
    write(source, job(), value=1.0)
    refused(f"{path.name}: was made from another .*source.safetensors than the one in use", source, path)


def test_two_files_made_from_different_states_of_one_are_one_sentence(path):
    """Also where that one is not read with them, and further back."""
    source, middle = (write(path.with_name(name), job()) for name in ("source.safetensors", "middle.parquet"))
    write(middle, job(source))
    first = write(path, job(middle))
    write(source, job(), value=1.0)
    write(middle, job(source))
    second = write(path.with_name(f"second{path.suffix}"), job(middle))
    refused("made from another .*source.safetensors", first, second)


def test_what_a_file_is_made_from_is_its_content_whoever_made_it(path):
    source = write(path.with_name("source.safetensors"), job())
    before = write(path, job(source)) and read_header(path)
    write(source, job(params=PARAMS | {"unimportant": 1}, cell="x"))
    assert read_header(write(path, job(source))) == before


def test_a_file_that_no_job_wrote_is_known_by_its_bytes(tmp_path):
    box = tmp_path / "box.onnx"
    digests = []
    for content in (b"one", b"one", b"two"):
        box.write_bytes(content)
        digests.append(job(box).made_from[box.as_posix()])
    assert digests[0] == digests[1] != digests[2]


# the key of a job


@pytest.mark.parametrize(
    "changes",
    [
        {"params": PARAMS | {"recovery": {"num": 3, "share": 0.25}}},
        {"params": PARAMS | {"version": VERSION["zoo"]}},
        {"cell": "other"},
        {"seed": "1"},
    ],
    ids=str,
)
def test_a_key_is_of_settings_version_and_wildcards(changes):
    same = {"params": dict(reversed(PARAMS.items())), "cell": "one", "seed": "0"}
    assert job(params=PARAMS, cell="one", seed="0").key == job(**same).key
    assert job(**same | changes).key != job(**same).key


def test_a_key_is_of_the_content_of_all_inputs(path):
    keys = [job(write(path, job(), value)).key for value in (0.0, 0.0, 1.0)]
    assert keys[0] == keys[1] != keys[2]


CELLS = {
    AutoencoderConfig: ({"zoo": "z", "seeds": [0], "epochs": [1], "structure_weight": 1.0, "steps": 2}, {}),
    RecoveryConfig: ({"teacher": "t", "seeds": [0], "queries": {"design": "uniform"}}, {"baselines": ["single"]}),
    PredictorConfig: ({"zoo": "o", "seeds": [0], "hidden": 4, "steps": 2}, {"controls": {"noise": {"seeds": [0]}}}),
}


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_labels_groups_baselines_and_controls_are_in_no_key(kind):
    settings, against = CELLS[kind]
    plain = kind.model_validate_json(kind(**settings).model_dump_json())
    dressed = kind(**settings | against | {"label": "L", "group": "G"})
    keys = {job(params={"cell": cell.model_dump(mode="json"), "version": "v"}).key for cell in (plain, dressed)}
    assert len(keys) == 1


# what a job goes on from


@pytest.mark.parametrize("phases", [[], ["first", "second"]])
def test_a_state_lies_beside_the_output_until_its_block_ends_well(tmp_path, phases):
    output, made = tmp_path / "out.safetensors", job()

    def saved():
        return sorted(path.name for path in tmp_path.iterdir())

    with suppress(InputError), resumable(made, output) as state:
        for own in [state, *map(state.phase, phases)]:
            own.save_if_due(lambda: {"w": torch.ones(2)}, step=1)
        raise InputError("killed")
    assert saved() == sorted(["out.safetensors.state", *(f"out.safetensors.{phase}.state" for phase in phases)])
    with resumable(job(seed="1"), output) as state:
        assert all(own.load() is None for own in [state, *map(state.phase, phases)])
        (output.with_name("kept")).touch()
    assert saved() == ["kept"]


def test_a_state_is_taken_up_by_the_same_job_alone(tmp_path):
    output = tmp_path / "out.safetensors"
    TrainingState(f"{output}.state", job().key).save_if_due(lambda: {"w": torch.ones(2)}, step=1)
    with resumable(job(), output) as state:
        assert state.load()[1] == {"step": 1}
