"""Settings: what is misspelt, mistyped or missing stops with one sentence that names the file and the key."""

import datetime

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from small_scenario import DELETE, PARQUET, changed, read, scenario_content
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.autoencoder.settings_within import PositionTables, RateConfig, RefineConfig, UntilFlat, Weighting
from weightspace.errors import InputError
from weightspace.generation.rival_settings import RivalConfig
from weightspace.generation.settings import BootstrapConfig, GenerationConfig, GenerationRivalConfig
from weightspace.images.settings import ImagesConfig
from weightspace.options import Options, read_options, read_scenario
from weightspace.predictor.settings import SmallRecipe
from weightspace.recipe import Recipe
from weightspace.settings import Cell, Settings, settings_hash
from weightspace.zoo.members import recipe_of
from weightspace.zoo.settings import AlignmentConfig, ZooConfig
from weightspace.zoo.sources import CheckpointsConfig

SCENARIOS = ROOT / "config" / "scenarios"
GENERATION = GenerationConfig(autoencoder="mine", seeds=[0], bootstrap={"rounds": 2}, rivals={"soup": RivalConfig(members=2)})
GENERATION_RIVAL = GenerationRivalConfig(generation="mine", kind="soup", members=2, num=4, seeds=[0])


def settings_classes(base=Settings):
    """Settings of scenarios and options; other tests may have imported the claims' too."""
    found = [cls for sub in base.__subclasses__() for cls in (sub, *settings_classes(sub))]
    return [cls for cls in found if cls.__module__ != "weightspace.report.claims"]


# what reads


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_that_is_kept_reads(path):
    assert read_scenario([SCENARIOS], Options(scenario=path.stem)).device


@pytest.mark.parametrize("cls", settings_classes(), ids=lambda cls: cls.__name__)
def test_every_setting_is_described(cls):
    assert [name for name, field in cls.model_fields.items() if not field.description] == []


@pytest.mark.slow
@pytest.mark.parametrize("cls", [cls for cls in settings_classes() if cls not in (Cell, Recipe)], ids=lambda cls: cls.__name__)
def test_what_jobs_read_of_settings_survives_json_and_cannot_be_changed(cls, tmp_path):
    scenario = read(tmp_path, scenario_content())
    remote = ImagesConfig(**PARQUET | {"train": {"url": "https://a/b", "sha256": "0" * 64}})
    constants = ImagesConfig(source="svhn", normalization={"mean": [0.5], "std": [0.1, 0.2, 0.3]})
    others = [
        Options(scenario="mine"), BaselineConfig(zoo="digits", epochs=[1], kind="init_mean"),
        AlignmentConfig(zoo="digits", epoch=2, kind="different_init"), CheckpointsConfig(source="checkpoints", path="mine"),
        *settings_in(remote), *settings_in(constants), *settings_in(scenario),
        SmallRecipe(**recipe_of(scenario.zoos["nets"], None)),
        *settings_in(scenario.recovery_baselines), *settings_in(scenario.predictor_controls),
        PositionTables(sequence=3, layer=2, unit=1), RefineConfig(steps=3), Weighting(gamma=0.1, beta=0.2), UntilFlat(),
        RateConfig(bits=[8]), BootstrapConfig(), GENERATION, *settings_in(GENERATION), GENERATION_RIVAL,
    ]  # fmt: skip
    settings = next(each for each in others if isinstance(each, cls))
    read_again = cls(**settings.model_dump(mode="json", include=set(cls.model_fields)))
    assert read_again.model_dump() == settings.model_dump(include=set(cls.model_fields))
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, next(iter(cls.model_fields)), None)


def settings_in(value):
    """A settings object and all that lie in it."""
    if isinstance(value, dict | list):
        return [s for part in (value.values() if isinstance(value, dict) else value) for s in settings_in(part)]
    if not isinstance(value, Settings):
        return []
    return [value, *settings_in({name: getattr(value, name) for name in type(value).model_fields})]


@pytest.mark.slow
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
    "more units than there is memory": ("zoos.digits.batch_size", 10**9, "zoos.digits.batch_size: is larger than 100,000,000"),
    "more models than anybody trains": (
        "zoos.digits.num_seeds", 2_000_000, "zoos.digits: it would have 2,000,000 models, more than 1,000,000"),
    "a seed that no table holds": ("autoencoders.plain.seeds", [2**63], "autoencoders.plain.seeds.0: Input should be less than"),
    # values out of range
    "no models": ("zoos.digits.num_seeds", 0, "zoos.digits.num_seeds:"),
    "no learning rate": ("zoos.digits.learning_rates", [], "zoos.digits.learning_rates:"),
    "learning rate of 0": ("zoos.digits.learning_rates", [0.0], "zoos.digits.learning_rates.0:"),
    "infinite learning rate": ("zoos.digits.learning_rates", [float("inf")], "zoos.digits.learning_rates.0:"),
    "negative decay": ("zoos.digits.weight_decays", [-0.1], "zoos.digits.weight_decays.0:"),
    "the same learning rate twice": ("zoos.digits.learning_rates", [0.1, 0.1], "zoos.digits.learning_rates: names 0.1 twice"),
    "the same seed twice": ("autoencoders.plain.seeds", [3, 0, 0], "autoencoders.plain.seeds: names 0 twice"),
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
    "name of a cell with a capital": ("zoos.Digits", scenario_content()["zoos"]["digits"], "zoos.Digits: is no name: a small"),
    "a name of 101 letters": (
        f"images.{'ab' * 50}c", {"source": "bundled_digits"}, f"images.{'ab' * 50}c: has 101 letters, a name may have 100"),
    "a name of one letter": (
        f"images.{'a' * 20}", {"source": "bundled_digits"}, f"images.{'a' * 20}: repeats itself 20 times or more"),
    "a name that ends in one": (
        f"images.x{'_y' * 20}", {"source": "bundled_digits"}, f"images.x{'_y' * 20}: repeats itself 20 times or more"),
    "one label for two cells": (
        "images", {name: {"source": "bundled_digits", "label": "same"} for name in ("digits", "other")},
        "images.other.label: 'digits' has the label 'same' too"),
    "digits of another size": ("images.digits.size", 28, "images.digits:"),
    "digits from a file": ("images.digits.train", "a.parquet", "images.digits:"),
    "Parquet without train": ("images.digits", {"source": "parquet", "test": "a.parquet"}, "images.digits:"),
    "columns of digits": ("images.digits.label_column", "y", "images.digits: source bundled_digits takes neither image_column"),
    "a column that is a list": (
        "images.digits", {"source": "mnist", "label_column": ["y"]}, "images.digits.label_column: Input should be"),
    "no normalization": ("images.digits.normalization", "mean", "images.digits.normalization: Input should be 'train'"),
    "half a normalization": ("images.digits.normalization", {"mean": [0.5]}, "images.digits.normalization.std: Field required"),
    "remote file with half a hash": (
        "images.digits", PARQUET | {"train": {"url": "https://a/b", "sha256": "abc"}}, "images.digits.train"),
    "a difference from what is not there": (
        "autoencoders.plain.against", "other", "autoencoders.plain.against: there is no cell 'other' in autoencoders"),
    "a difference of several zoos": (
        "autoencoders.other",
        scenario_content()["autoencoders"]["plain"] | {"against": "plain", "zoo": ["digits", "nets"]},
        "autoencoders.other: against is for autoencoders of one zoo"),
    "a weight beside a weighting": (
        "autoencoders.plain.weighting", {"gamma": 0.05, "beta": 0.1},
        "autoencoders.plain: weighting says structure_weight, which stands beside it"),
    "a weighting above 1": ("autoencoders.plain.weighting", {"gamma": 0.05, "beta": 2.0}, "autoencoders.plain.weighting.beta:"),
    "queries of no set": ("autoencoders.plain.queries", ["other"], "autoencoders.plain: query_images is of queries: other"),
    "a set that is not asked about": (
        "autoencoders.plain.query_images", "digits", "autoencoders.plain: query_images is of queries: other"),
    # references
    "no such image set": ("zoos.digits.images", "digit", "zoos.digits.images: there is no cell 'digit' in images, only digits"),
    "no such zoo": ("autoencoders.plain.zoo", "mnist", "autoencoders.plain.zoo: there is no cell 'mnist' in zoos, only digits"),
    "epoch that the zoo does not keep": ("autoencoders.plain.epochs", [1], "autoencoders.plain.epochs:"),
}  # fmt: skip


def test_the_scenario_that_the_wrong_ones_are_made_of_reads(tmp_path):
    assert read(tmp_path, scenario_content()).zoos["digits"].num_models == 4


@pytest.mark.slow
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


def test_several_wrong_keys_stand_in_a_line_each_below_the_file(tmp_path):
    content = changed("zoos.digits.num_sedes", 4)
    content["images"]["digits"]["sise"] = 8
    with pytest.raises(InputError) as error:
        read(tmp_path, content)
    assert str(error.value).splitlines() == [
        f"{tmp_path / 'mine.yaml'}:",
        "  images.digits.sise: there is no such setting",
        "  zoos.digits.num_sedes: there is no such setting",
    ]


@pytest.mark.slow
def test_a_file_below_the_working_directory_is_named_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(InputError, match=f"^{tmp_path.name}/mine.yaml: zoos.digits.num_sedes: "):
        read(tmp_path, changed("zoos.digits.num_sedes", 4))


def test_sections_of_the_old_form_say_where_their_cells_are_written_now(tmp_path):
    content = scenario_content() | {"recovery_baselines": {}, "originals": {}, "predictor_controls": {}}
    with pytest.raises(InputError) as error:
        read(tmp_path, content)
    assert str(error.value).splitlines()[1:] == [
        "  recovery_baselines: write them in their recovery, as `baselines: [single, pruned]`",
        "  originals: write them in `zoos`, and `zoo: NAME` in their predictors",
        "  predictor_controls: write them in their predictor, as `controls: {noise: {}, quantized: {bits: [8, 4]}}`",
    ]


def test_small_networks_are_told_how_each_original_is_trained(tmp_path):
    content = changed("zoos.nets.learning_rates", [0.1, 0.2, 0.3])
    content["zoos"]["nets"] |= {"optimizer": "sgd", "epochs": [1, 3]}
    content["predictors"]["own"] |= {"models": [2, 0], "controls": {"small": {"architecture": "mlp"}, "noise": {}}}
    scenario = read(tmp_path, content)
    recipe = SmallRecipe(**scenario.small_recipe("own_small"))
    assert (recipe.images, recipe.optimizer, recipe.architecture, recipe.epochs) == ("digits", "sgd", "mlp", 3)
    assert (recipe.inits, recipe.learning_rates, recipe.weight_decays) == (["normal"] * 2, [0.3, 0.1], [0.0] * 2)
    assert scenario.small_recipe("own_noise") is None


def test_a_grid_that_does_not_read_is_named_with_its_section(tmp_path):
    with pytest.raises(InputError, match=r"mine\.yaml: zoos\.digits\.grid\.batch_size: names 8 twice"):
        read(tmp_path, changed("zoos.digits.grid", {"batch_size": [8, 8]}))


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


@pytest.mark.slow
@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans(), st.none()), min_size=1))
def test_settings_hash_sees_each_value_and_no_order(settings):
    key = next(iter(settings))
    assert settings_hash(settings) == settings_hash(dict(reversed(settings.items())))
    assert settings_hash(settings) != settings_hash(settings | {key: [settings[key]]})


def test_a_scenario_that_is_like_another_says_only_what_differs(tmp_path):
    mine = read(tmp_path, scenario_content())
    (tmp_path / "second.yaml").write_text(yaml.safe_dump({"like": "mine", "zoos": {"digits": {"num_seeds": 31}}}))
    less = "like: second\nfigures:\npredictors: {own: , alone: , shared: }\nautoencoders: {plain: {clip_norm: null}}\n"
    (tmp_path / "third.yaml").write_text(less)
    second, third = (read_scenario([tmp_path], Options(scenario=name)) for name in ("second", "third"))
    assert second.zoos["digits"].num_seeds == third.zoos["digits"].num_seeds == 31
    assert second.model_copy(update={"zoos": mine.zoos}) == mine
    assert set(third.predictors) == {"held"}
    assert not third.figures
    assert mine.autoencoders["plain"].clip_norm == 1
    assert third.autoencoders["plain"].clip_norm is None


@pytest.mark.parametrize("like", ["mine", "[a]", "second"])
def test_scenarios_that_are_like_each_other_or_none_are_an_error(tmp_path, like):
    (tmp_path / "mine.yaml").write_text(f"like: {like}\n")
    (tmp_path / "second.yaml").write_text("like: mine\n")
    with pytest.raises(InputError, match=r"\.yaml: like: must name another scenario"):
        read_scenario([tmp_path], Options(scenario="mine"))
