"""Settings: what is misspelt, mistyped or missing stops with one sentence that names the file and the key."""

import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from weightspace.config import (
    BaselineConfig,
    ImagesConfig,
    Options,
    Settings,
    TrainedTeachers,
    ZooConfig,
    check_image_files,
    read_options,
    read_scenario,
    settings_hash,
)
from weightspace.errors import InputError

SCENARIOS = Path(__file__).parents[1] / "config" / "scenarios"
PARQUET = {"source": "parquet", "train": "a.parquet", "test": "b.parquet"}
BOX = {"teacher": "box", "queries": {"design": "uniform"}, "seeds": [0]}
TRIES = {"architectures": [["flatten", "linear 4", "activation", "linear classes"]], "activations": ["relu", "tanh"]}
DELETE = object()


def scenario_content():
    """A small scenario that reads."""
    return {
        "images": {"digits": {"source": "bundled_digits"}},
        "zoos": {
            "digits": {
                "images": "digits", "architecture": "cnn_digits", "inits": ["normal"], "learning_rates": [0.1],
                "weight_decays": [0.0], "num_seeds": 4, "epochs": [0, 2],
            }
        },
        "autoencoders": {"plain": {"zoo": "digits", "seeds": [0], "epochs": [2], "structure_weight": 1.0, "steps": 3}},
        "teachers": {
            "made": {"kind": "synthetic", "inputs": 2, "hidden": [3]},
            "member": {"kind": "zoo", "zoo": "digits", "models": [1], "epoch": 2},
            "box": {"kind": "onnx", "path": "a.onnx"},
            "file": {"kind": "table", "path": "a.parquet"},
        },
        "recoveries": {
            "made": {"teacher": "made", "seeds": [0], "queries": {"design": "uniform"}},
            "box": BOX | {"students": TRIES},
        },
        "recovery_baselines": {"made_single": {"recovery": "made", "kind": "single"}},
        "originals": {"nets": {"images": "digits", "architecture": "cnn_digits"}},
        "predictors": {
            "held": {
                "originals": "nets", "seeds": [0, 1], "hidden": 8, "steps": 3, "quantization": {"bits": 8},
                "distillation": {"when": "jointly", "teacher": "nets", "logit_weight": 0.1},
            },
            "alone": {"originals": "nets", "seeds": [0], "hidden": 8, "steps": 3},
            "own": {"originals": "nets", "seeds": [0], "hidden": 8, "steps": 3},
            "shared": {"originals": "nets", "seeds": [1], "hidden": 8, "steps": 3, "order": "none", "stack": "alone"},
        },
        "predictor_controls": {
            "held_noise": {"predictor": "held", "kind": "noise", "seeds": [1]},
            "held_quantized_8": {"predictor": "held", "kind": "quantized", "bits": 8},
        },
    }  # fmt: skip


def changed(key, value):
    """The small scenario with one dotted key set, or deleted."""
    content = scenario_content()
    *parents, last = key.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    if value is DELETE:
        del section[last]
    else:
        section[last] = value
    return content


def read_text(folder, text, **options):
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "mine.yaml").write_bytes(content)
    return read_scenario([folder], Options(scenario="mine", **options))


def read(folder, content, **options):
    return read_text(folder, yaml.safe_dump(content), **options)


def settings_classes(base=Settings):
    return [cls for sub in base.__subclasses__() for cls in (sub, *settings_classes(sub))]


# what reads


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_that_is_kept_reads(path):
    images = yaml.safe_load(path.read_text()).get("images", {}).values()
    files = [cell.get(key) for cell in images for key in ("train", "test")]
    if any(isinstance(file, str) and not Path("resources", file).is_file() for file in files):
        pytest.skip("its image files are not here")
    assert read_scenario([SCENARIOS], Options(scenario=path.stem)).device


@pytest.mark.parametrize("cls", settings_classes(), ids=lambda cls: cls.__name__)
def test_every_setting_is_described(cls):
    assert [name for name, field in cls.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("cls", settings_classes(), ids=lambda cls: cls.__name__)
def test_settings_survive_json_and_cannot_be_changed(cls, tmp_path):
    found = {type(s): s for s in settings_in(read(tmp_path, scenario_content()))} | {
        type(s): s for s in settings_in(ImagesConfig(**PARQUET | {"train": {"url": "https://a/b", "sha256": "0" * 64}}))
    }  # fmt: skip
    others = [
        Options(scenario="mine"), BaselineConfig(zoo="digits", epochs=[1], kind="init_mean"),
        TrainedTeachers(kind="trained", images="digits", architecture="mlp"),
    ]  # fmt: skip
    settings = (found | {type(s): s for s in others})[cls]
    assert cls(**settings.model_dump(mode="json")) == settings
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, next(iter(cls.model_fields)), None)


def settings_in(value):
    """A settings object and all that lie in it."""
    if isinstance(value, dict):
        return [s for part in value.values() for s in settings_in(part)]
    if not isinstance(value, Settings):
        return []
    return [value, *settings_in({name: getattr(value, name) for name in type(value).model_fields})]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_option_device_stands_in_for_the_scenarios(tmp_path, device):
    content = scenario_content() | {"device": "cpu"}
    assert read(tmp_path, content).device == "cpu"
    assert read(tmp_path, content, device=device).device == device


def test_num_models_counts_every_combination():
    zoo = ZooConfig(**scenario_content()["zoos"]["digits"] | {"inits": ["normal", "uniform"], "learning_rates": [0.1, 0.2, 0.3]})
    assert zoo.num_models == 2 * 3 * 1 * 4


# what does not


WRONG = {
    # unknown keys, at every depth
    "unknown section": ("zoo", {}, "zoo: there is no such setting"),
    "unknown setting of a zoo": ("zoos.digits.num_sedes", 4, "zoos.digits.num_sedes: there is no such setting"),
    "unknown setting of images": ("images.digits.sise", 8, "images.digits.sise: there is no such setting"),
    "unknown setting of an autoencoder": ("autoencoders.plain.beta", 1.0, "autoencoders.plain.beta: there is no such setting"),
    # missing keys
    "no zoo": ("autoencoders.plain.zoo", DELETE, "autoencoders.plain.zoo:"),
    "zoos that are not there": (
        "zoos", DELETE, "autoencoders.plain.zoo: there is no cell 'digits' in zoos, only none at all"),
    "no epochs": ("zoos.digits.epochs", DELETE, "zoos.digits.epochs:"),
    # wrong types
    "text for a count": ("zoos.digits.num_seeds", "4", "zoos.digits.num_seeds:"),
    "fraction for a count": ("zoos.digits.num_seeds", 4.5, "zoos.digits.num_seeds:"),
    "number for a list": ("zoos.digits.learning_rates", 0.1, "zoos.digits.learning_rates:"),
    "text in a list of numbers": ("zoos.digits.learning_rates", [0.1, "fast"], "zoos.digits.learning_rates.1:"),
    "yes for a switch": ("autoencoders.plain.standardize", 1, "autoencoders.plain.standardize:"),
    "list for a section": ("zoos", [], "zoos:"),
    "nothing for a section": ("images", None, "images:"),
    "a date for a name": ("zoos.digits.images", datetime.date(2026, 1, 1), "zoos.digits.images:"),
    # values out of range
    "no models": ("zoos.digits.num_seeds", 0, "zoos.digits.num_seeds:"),
    "no learning rate": ("zoos.digits.learning_rates", [], "zoos.digits.learning_rates:"),
    "learning rate of 0": ("zoos.digits.learning_rates", [0.0], "zoos.digits.learning_rates.0:"),
    "infinite learning rate": ("zoos.digits.learning_rates", [float("inf")], "zoos.digits.learning_rates.0:"),
    "negative decay": ("zoos.digits.weight_decays", [-0.1], "zoos.digits.weight_decays.0:"),
    "the same learning rate twice": ("zoos.digits.learning_rates", [0.1, 0.1], "zoos.digits"),
    "the same seed twice": ("autoencoders.plain.seeds", [0, 0], "autoencoders.plain"),
    "share of 1": ("zoos.digits.val_share", 1.0, "zoos.digits.val_share:"),
    "shares above 1": ("zoos.digits.val_share", 0.8, "zoos.digits:"),
    "epochs that fall": ("zoos.digits.epochs", [2, 0], "zoos.digits:"),
    "more shards than models": ("zoos.digits.num_shards", 5, "zoos.digits:"),
    "unknown init": ("zoos.digits.inits", ["xavier"], "zoos.digits.inits.0:"),
    "unknown activation": ("zoos.digits.activation", "step", "zoos.digits.activation:"),
    "unknown distance": ("autoencoders.plain.behavior_distance", "l2", "autoencoders.plain.behavior_distance:"),
    "unknown device": ("device", "gpu", "device:"),
    "two channels": ("images.digits.channels", 2, "images.digits.channels:"),
    "no loss at all": ("autoencoders.plain.structure_weight", 0.0, "autoencoders.plain:"),
    "width that heads do not divide": ("autoencoders.plain.heads", 5, "autoencoders.plain:"),
    "odd width, which positions cannot halve": (
        "autoencoders.plain", scenario_content()["autoencoders"]["plain"] | {"width": 9, "heads": 3}, "autoencoders.plain"),
    "contrast of one view": (
        "autoencoders.plain",
        scenario_content()["autoencoders"]["plain"] | {"contrast_weight": 1.0, "views": "original"}, "autoencoders.plain:"),
    "name of a cell with a capital": ("zoos.Digits", scenario_content()["zoos"]["digits"], "zoos.Digits"),
    "digits of another size": ("images.digits.size", 28, "images.digits:"),
    "digits from a file": ("images.digits.train", "a.parquet", "images.digits:"),
    "Parquet without test": ("images.digits", {"source": "parquet", "train": "a.parquet"}, "images.digits:"),
    "remote file with half a hash": (
        "images.digits", PARQUET | {"train": {"url": "https://a/b", "sha256": "abc"}}, "images.digits.train"),
    # references
    "no such image set": ("zoos.digits.images", "digit", "zoos.digits.images: there is no cell 'digit' in images, only digits"),
    "no such zoo": ("autoencoders.plain.zoo", "mnist", "autoencoders.plain.zoo: there is no cell 'mnist' in zoos, only digits"),
    "epoch that the zoo does not keep": ("autoencoders.plain.epochs", [1], "autoencoders.plain.epochs:"),
    "teachers of no such zoo": (
        "teachers.member.zoo", "mnist", "teachers.member.zoo: there is no cell 'mnist' in zoos, only digits"),
    "teachers of an epoch that the zoo does not keep": (
        "teachers.member.epoch", 1, "teachers.member.epoch: zoo 'digits' keeps no epoch 1"),
    "teachers of no such image set": (
        "teachers.made", {"kind": "trained", "images": "mnist", "architecture": "mlp"},
        "teachers.made.images: there is no cell 'mnist' in images, only digits"),
    "no such teacher": (
        "recoveries.made.teacher", "mad",
        "recoveries.made.teacher: there is no cell 'mad' in teachers, only box, file, made, member"),
    "queries of no such image set": (
        "recoveries.made.queries", {"design": "data", "images": "mnist"},
        "recoveries.made.queries.images: there is no cell 'mnist' in images, only digits"),
    "no such recovery": (
        "recovery_baselines.made_single.recovery", "mad",
        "recovery_baselines.made_single.recovery: there is no cell 'mad' in recoveries, only box, made"),
    # recoveries
    "unknown setting of teachers": ("teachers.member.model", 1, "teachers.member.model: there is no such setting"),
    "zoo teachers of no zoo": ("teachers.member.zoo", DELETE, "teachers.member.zoo:"),
    "teachers of no kind": ("teachers.made.kind", DELETE, "teachers.made:"),
    "teachers of an unknown kind": ("teachers.made.kind", "stolen", "teachers.made:"),
    "setting of another kind": ("teachers.made.zoo", "digits", "teachers.made.zoo: there is no such setting"),
    "no hidden layer": ("teachers.made.hidden", [], "teachers.made.hidden:"),
    "no queries": ("recoveries.made.queries", DELETE, "recoveries.made.queries:"),
    "unknown setting of queries": (
        "recoveries.made.queries.bits", 8, "recoveries.made.queries.bits: there is no such setting"),
    "uniform queries from images": ("recoveries.made.queries.images", "digits", "recoveries.made.queries:"),
    "data queries from no images": ("recoveries.made.queries.design", "data", "recoveries.made.queries:"),
    "composition queries from no images": ("recoveries.made.queries.design", "composition", "recoveries.made.queries:"),
    "one student": ("recoveries.made.students", {"num": 1}, "recoveries.made.students.num:"),
    "students that do not train": (
        "recoveries.made.students", {"epochs": 0, "second_order_steps": 0},
        "recoveries.made.students: epochs and second_order_steps are both 0"),
    "an angle in degrees": ("recoveries.made.cluster", {"max_angle_rad": 60.0}, "recoveries.made.cluster.max_angle_rad:"),
    "a control of a seed that its predictor lacks": (
        "predictor_controls.held_noise.seeds", [1, 7], "predictor_controls.held_noise.seeds: predictor 'held' has no seed 7"
    ),
    "the same control twice": (
        "predictor_controls.held_noise.seeds",
        [1, 1],
        "predictor_controls.held_noise: seeds names a seed twice",
    ),
    "a stack of another that shares one": (
        "predictors.own.stack", "shared", "predictors.own.stack: 'shared' trains with 'alone' itself: name that one"
    ),
    "a stack of its own": ("predictors.own.stack", "own", "predictors.own.stack: 'own' trains with 'own' itself"),
    "a stack of a distillation": ("predictors.own.stack", "held", "predictors.own.stack: predictors with a distillation"),
    "another width in a stack": ("predictors.shared.hidden", 9, "predictors.shared.hidden: must be that of 'alone'"),
    "a distillation in a stack": ("predictors.held.stack", "alone", "predictors.held.stack: predictors with a distillation"),
    "the same recovery twice": ("recoveries.made.seeds", [0, 0], "recoveries.made: seeds names a seed twice"),
    "thinning as nobody published": (
        "recoveries.made",
        {"teacher": "made", "seeds": [0], "queries": {"design": "uniform"}, "thinned_students": 2}
        | {"cluster": {"procedure": "published"}},
        "recoveries.made: the published procedure has no thinned_students",
    ),
    "students left out as nobody published": (
        "recoveries.made.cluster",
        {"procedure": "published", "keep_ratio": 3.0},
        "recoveries.made: the published procedure has no thinned_students",
    ),
    "a table of a network": ("recoveries.made.queries.design", "table", "recoveries.made.queries.design: teachers of kind table"),
    "a file that is asked more": ("recoveries.made.teacher", "file", "recoveries.made.queries.design: teachers of kind table"),
    "a black box and no layers to try": (
        "recoveries.box.students", TRIES | {"architectures": None}, "recoveries.box.students: a black box needs"),
    "a black box and no activations to try": (
        "recoveries.box.students", TRIES | {"activations": None}, "recoveries.box.students: a black box needs"),
    "a file and nothing to try": (
        "recoveries.box", BOX | {"teacher": "file", "queries": {"design": "table"}},
        "recoveries.box.students: a black box needs"),
}  # fmt: skip


def test_the_scenario_that_the_wrong_ones_are_made_of_reads(tmp_path):
    assert read(tmp_path, scenario_content()).zoos["digits"].num_models == 4


@pytest.mark.parametrize(("key", "value", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_one_sentence_with_its_file_and_full_key(tmp_path, key, value, told):
    with pytest.raises(InputError) as error:
        read(tmp_path, changed(key, value))
    first, *more = str(error.value).splitlines()  # more: what each of several types that a key may have lacks
    assert first.startswith(f"{tmp_path / 'mine.yaml'}: {told}")
    assert all(line.startswith(f"  {told}") for line in more)


def test_a_scenario_of_neither_zoos_nor_recoveries_is_an_error(tmp_path):
    with pytest.raises(InputError, match="there are neither zoos nor recoveries nor predictors"):
        read(tmp_path, {"images": scenario_content()["images"]})


@pytest.mark.parametrize("kept", [["images", "zoos"], ["teachers", "recoveries"]])
def test_zoos_do_without_recoveries_and_recoveries_without_zoos(tmp_path, kept):
    content = {name: section for name, section in scenario_content().items() if name in kept}
    if "teachers" in kept:
        del content["teachers"]["member"]
    assert getattr(read(tmp_path, content), kept[-1])


@pytest.mark.parametrize("queries", [{"design": "boundary"}, {"design": "boundary", "images": "digits"}], ids=str)
def test_a_boundary_is_sought_between_images_or_without_any(tmp_path, queries):
    assert read(tmp_path, changed("recoveries.made.queries", queries)).recoveries["made"].queries.design == "boundary"


def test_every_wrong_key_is_named_at_once(tmp_path):
    content = changed("zoos.digits.num_sedes", 4)
    content["images"]["digits"]["sise"] = 8
    with pytest.raises(InputError, match=r"images\.digits\.sise: .*\n  zoos\.digits\.num_sedes: "):
        read(tmp_path, content)


def test_a_missing_image_file_is_named_with_the_folder_that_it_was_sought_in(tmp_path):
    (tmp_path / "a.parquet").touch()
    options = Options(scenario="mine", images_dir=str(tmp_path))
    scenario = read(tmp_path, changed("images.digits", PARQUET), images_dir=str(tmp_path))
    with pytest.raises(InputError, match=rf"mine\.yaml: images\.digits\.test: no file {tmp_path / 'b.parquet'}; set images_dir"):
        check_image_files(scenario, options, "digits")
    (tmp_path / "b.parquet").touch()
    check_image_files(scenario, options, "digits")


UNREADABLE = {
    "open bracket": "images: {digits",
    "tab": "images:\n\tdigits: {}",
    "not text": b"images: \xff\xfe",
    "nothing": "",
    "a list": "- images",
    "unknown tag": "images: !python/object:os.system {}",
    "a key twice": "images: {digits: {source: bundled_digits, val_share: 0.1, val_share: 0.2}}\nzoos: {}",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_yaml_that_does_not_read_is_one_sentence_with_its_file(tmp_path, text):
    with pytest.raises(InputError) as error:
        read_text(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert "\n" not in str(error.value)


def test_a_scenario_that_is_not_there_is_named_with_those_that_are(tmp_path):
    (tmp_path / "other.yaml").touch()
    with pytest.raises(InputError, match=r"mine\.yaml: there is no scenario 'mine', only other"):
        read_scenario([tmp_path], Options(scenario="mine"))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "config: scenario:"),
        ({"scenario": "digits", "image_dir": "x"}, "config: image_dir: there is no such setting"),
        ({"scenario": "../digits"}, "config: scenario:"),
        ({"scenario": "digits", "device": "tpu"}, "config: device:"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_option_is_named(config, told):
    with pytest.raises(InputError) as error:
        read_options(config)
    assert told in str(error.value)


# the hash that names a run


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans(), st.none()), min_size=1))
def test_settings_hash_sees_each_value_and_no_order(settings):
    key = next(iter(settings))
    assert settings_hash(settings) == settings_hash(dict(reversed(settings.items())))
    assert settings_hash(settings) != settings_hash(settings | {key: [settings[key]]})
