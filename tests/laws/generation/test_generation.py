"""One job: samples and rivals as sets of networks, their rows, and the files that they are written to."""

import json
from types import SimpleNamespace

import pytest
import torch
import weightspace.generation.evaluate
from planted_codes import SPEC, coded_zoo
from safetensors.torch import load_file
from weightspace.checkpoints import read_zoo
from weightspace.errors import InputError
from weightspace.generation.evaluate import generate, generation_rows, write_networks
from weightspace.generation.metrics import METRICS
from weightspace.generation.settings import GenerationSettings
from weightspace.jobs import Job
from weightspace.nets.forward import unflatten
from weightspace.report.collect import collect_metrics
from weightspace.stages import VERSION
from weightspace.store import TrainingState
from weightspace.table import Source, read_table, write_metrics
from weightspace.zoo.export import export_zoo

SOURCE = Source("planted", "generation", "new", 3)
JOB = Job(VERSION["generation"], {}, "key")
RIVALS = {"scratch": {}, "anchors": {}, "reconstructions": {}}


def config_of(**changes):
    content = {"autoencoder": "plain", "sampler": "kde_joint", "num": 4, "fine_tune": {"epochs": [0, 2]}, "rivals": RIVALS}
    return GenerationSettings.model_validate_json(json.dumps(content | changes))


def generated_with(tmp_path, zoo=None, **changes):
    return generate(zoo or coded_zoo(), config_of(**changes), SOURCE, TrainingState(tmp_path / "state", "key"))


def values(rows, cell, metric, at=None):
    return [row["value"] for row in rows if (row["cell"], row["metric"], row["at"]) == (cell, metric, at)]


def test_rivals_are_cells_of_their_own_of_as_many_networks(tmp_path):
    rows = generation_rows(generated_with(tmp_path), SOURCE)
    write_metrics(tmp_path / "metrics.parquet", rows, METRICS)
    assert collect_metrics([tmp_path / "metrics.parquet"]).num_rows == len(rows)  # none is there twice
    cells = {(row["stage"], row["cell"]) for row in rows}
    assert cells == {("generation", "new")} | {("generation_rival", f"new_{name}") for name in RIVALS}
    for _, cell in cells:
        for metric in ("accuracy", "val_accuracy"):
            assert [len(values(rows, cell, metric, epoch)) for epoch in (0, 1, 2)] == [4, 0, 4]


def test_without_a_shift_samples_are_measured_as_the_reconstructions_that_they_are(tmp_path):
    zoo = coded_zoo()
    zoo = zoo._replace(decode=lambda codes: 0.7 * codes.flatten(1), encode=lambda weights: weights.view(-1, 163, 1))
    generated = generated_with(tmp_path, zoo, bandwidth=0.0, num=12)
    samples, rebuilt = (generated.sets[name] for name in ("new", "new_reconstructions"))
    torch.testing.assert_close(samples.weights, 0.7 * zoo.train[samples.parents])
    assert torch.equal(rebuilt.weights.sum(1).sort().values, (0.7 * zoo.train).sum(1).sort().values)  # each of the 12 once
    by_sum = {
        float(weights.sum()): accuracy for weights, accuracy in zip(rebuilt.weights, rebuilt.test_accuracy[:, 0], strict=True)
    }
    assert [by_sum[float(weights.sum())] for weights in samples.weights] == samples.test_accuracy[:, 0].tolist()


def test_a_sample_of_one_anchor_says_which_and_how_good_that_is(tmp_path):
    generated = generated_with(tmp_path, bandwidth=0.0)
    rows = generation_rows(generated, SOURCE)
    assert values(rows, "new", "parent") == [100 + place for place in generated.samples.parents.tolist()]
    assert values(rows, "new", "accuracy_parent") == values(rows, "new", "accuracy", 0)
    assert values(rows, "new", "code_numbers") == [163] * 4
    assert not values(generation_rows(generated_with(tmp_path, sampler="kde_token"), SOURCE), "new", "parent")


def test_rivals_of_all_cells_of_a_seed_are_the_same_networks(tmp_path):
    one, other = (generated_with(tmp_path, sampler=sampler).sets for sampler in ("kde_joint", "kde_token"))
    for name in RIVALS:
        assert torch.equal(one[f"new_{name}"].weights, other[f"new_{name}"].weights)
    assert not torch.equal(one["new"].weights, other["new"].weights)


@pytest.mark.parametrize("broken", ["new", "new_scratch"])
def test_networks_that_are_not_finite_stop_the_job_and_their_cell_is_named(tmp_path, monkeypatch, broken):
    zoo, rivals = coded_zoo(), weightspace.generation.evaluate.RIVALS
    if broken == "new":
        zoo = zoo._replace(decode=lambda codes: codes.flatten(1) * torch.inf)
    else:
        monkeypatch.setitem(rivals, "scratch", lambda zoo, rival, generator: torch.full((4, SPEC.num_weights), torch.nan))
    with pytest.raises(InputError, match=rf"^generation 'new', seed 3: networks of '{broken}' are not finite$"):
        generated_with(tmp_path, zoo)


def test_one_network_of_two_anchors_is_generated(tmp_path):
    zoo = coded_zoo(2)
    rows = generation_rows(generated_with(tmp_path, zoo, num=1), SOURCE)
    assert all(len(values(rows, cell, "accuracy", 2)) == 1 for cell in ("new", *(f"new_{name}" for name in RIVALS)))
    assert values(rows, "new", "parent")[0] in (100, 101)


# the networks as files


def written(tmp_path, **changes):
    generated = generated_with(tmp_path, **changes)
    paths = SimpleNamespace(index=tmp_path / "weights.safetensors", folder=tmp_path / "networks", models=tmp_path / "m.parquet")
    write_networks(paths.index, paths.folder, paths.models, generated, JOB)
    return generated, read_zoo(paths.index), read_table(paths.models)


def test_generated_networks_are_a_zoo(tmp_path):
    generated, zoo, models = written(tmp_path)
    assert (zoo.spec, zoo.epochs, zoo.models) == (SPEC, [0, 2], [0, 1, 2, 3])
    assert torch.equal(zoo.read([0, 1, 2, 3], [0])[:, 0], generated.samples.weights)
    assert torch.equal(zoo.read([3], [2])[0, 0], generated.sets["new"].tuned[3])
    assert models.select(["model", "epoch"]).to_pydict() == {"model": [0, 0, 1, 1, 2, 2, 3, 3], "epoch": [0, 2] * 4}
    assert models["parent"].to_pylist() == [100 + place for place in generated.samples.parents.tolist() for _ in range(2)]


def test_generated_networks_are_exported_as_plain_state_dicts(tmp_path):
    generated, zoo, models = written(tmp_path)
    table = models.to_pandas()
    export_zoo(zoo, table[table["epoch"] == 0], tmp_path / "out", "new")
    found = load_file(tmp_path / "out/models/0002/epoch-0000.safetensors")
    assert found.keys() == SPEC.shapes.keys()
    for name, values in unflatten(SPEC, generated.samples.weights[2]).items():
        assert torch.equal(found[name], values)
