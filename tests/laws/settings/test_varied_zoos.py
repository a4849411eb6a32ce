"""Zoos of several stacks before the first job: what may vary, how many models there are, and who may read them."""

import pytest
from small_scenario import changed, read, scenario_content
from weightspace.checks import check_scenario
from weightspace.errors import InputError
from weightspace.nets.spec import build_spec
from weightspace.stored import told_sizes, weights_mb

TWO = {"activation": ["relu", "tanh"]}
NET = ["conv 4 3", "activation", "flatten", "linear classes"]
ARCHITECTURES = {"architecture": [NET, ["conv 5 3", *NET[1:]]]}


def scenario_of(varied, **changes):
    """The small scenario with a zoo `mine` beside the others, of which settings vary."""
    content = scenario_content()
    zoo = content["zoos"]["digits"] | {"architecture": NET, "num_seeds": 30, "varied": varied}
    content["zoos"]["mine"] = {key: value for key, value in zoo.items() if key not in varied or key == "images"} | changes
    return content


WRONG = {
    "an unknown key": ({"size": [1, 2]}, "zoos.mine.varied.size: there is no such setting"),
    "images": ({"images": ["a", "b"]}, "zoos.mine.varied.images: there is no such setting"),
    "a share": ({"val_share": [0.1, 0.2]}, "zoos.mine.varied.val_share: there is no such setting"),
    "no value": ({"batch_size": []}, "zoos.mine.varied.batch_size: List should have at least 1 item after validation, not 0"),
    "no list": ({"batch_size": 8}, "zoos.mine.varied.batch_size: Input should be a valid array"),
    "a value twice": ({"batch_size": [8, 8]}, "zoos.mine.varied.batch_size: names 8 twice"),
    "a bad value": ({"momentum": [0.5, 1.5]}, "zoos.mine.varied.momentum.1: Input should be less than 1"),
    "a bad architecture": ({"architecture": [3]}, "zoos.mine.varied.architecture.0: Input should be a valid string, or"),
    "no architecture": ({"architecture": []}, "zoos.mine.varied.architecture: List should have at least 1 item"),
    "no settings": ([], "zoos.mine.varied: Input should be an object"),
    "unread milestones": (
        {"milestones": [[3], [4]]},
        "zoos.mine: milestones are of schedule steps, and the schedule is constant",
    ),
}


@pytest.mark.parametrize(("varied", "told"), WRONG.values(), ids=WRONG)
def test_what_cannot_vary_is_one_sentence(tmp_path, varied, told):
    with pytest.raises(InputError) as error:
        read(tmp_path, scenario_of(varied))
    assert f": {told}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_setting_that_varies_is_said_nowhere_else(tmp_path):
    with pytest.raises(InputError, match="zoos.mine: activation is listed in varied, where it is said alone$"):
        read(tmp_path, scenario_of(TWO, activation="relu"))


def test_schedules_may_vary_where_one_of_them_has_milestones(tmp_path):
    zoo = read(tmp_path, scenario_of({"schedule": ["constant", "steps"]}, milestones=[1])).zoos["mine"]
    assert [stack.schedule for stack in zoo.stacks] == ["constant", "steps"]


def test_the_size_counts_models_of_every_stack(tmp_path):
    scenario = read(tmp_path, scenario_of(ARCHITECTURES | {"batch_size": [8, 16, 32]}))
    sizes = [build_spec(layers, "relu", (1, 8, 8), 10).num_weights for layers in ARCHITECTURES["architecture"]]
    assert scenario.zoos["mine"].num_models == 180
    assert weights_mb(scenario, "mine", 180, 1) == pytest.approx(90 * sum(sizes) * 4 / 1e6)
    assert weights_mb(scenario, "mine", 1, 1, max) == pytest.approx(max(sizes) * 4 / 1e6)
    (told,) = told_sizes(scenario, ["mine"], 1e12)
    assert told.startswith("zoo 'mine': 180 models, ")


def test_a_grid_of_cells_may_set_what_varies(tmp_path):
    content = scenario_of(TWO)
    content["zoos"]["mine_{size}"] = content["zoos"].pop("mine") | {
        "grid": {"varied.batch_size": {"small": [8, 16], "large": [32]}},
    }
    content["zoos"]["mine_{batch_size}"] = content["zoos"].pop("mine_{size}")
    zoos = read(tmp_path, content).zoos
    assert (zoos["mine_small"].num_models, zoos["mine_large"].num_models) == (120, 60)


def cells_of(content, **sections):
    for section, cell in sections.items():
        content[section] = {"own": cell}
    return content


AUTOENCODER = {"zoo": "mine", "seeds": [0], "epochs": [2], "structure_weight": 0.5, "behavior_weight": 0.5, "steps": 3}
PREDICTOR = {"zoo": "mine", "seeds": [0], "hidden": 8, "steps": 3}
TEACHER = {"kind": "zoo", "zoo": "mine"}
BASELINE = {"zoo": "mine", "kind": "pca", "epochs": [2], "numbers": 3}
FITS = {
    "an autoencoder": (TWO, {"autoencoders": AUTOENCODER}),
    "an autoencoder of other pooling and dropout": (
        {"architecture": [["conv 3 3", "pool 2", "activation", "flatten", "linear classes"],
                          ["conv 3 3", "activation", "avg_pool 2", "dropout 0.2", "flatten", "linear classes"]]},
        {"autoencoders": AUTOENCODER}),
    "a baseline": (TWO, {"baselines": BASELINE}),
    "teachers of one activation": (TWO, {"teachers": TEACHER | {"models": [0, 2, 4]}, "recoveries": {
        "teacher": "own", "seeds": [0], "queries": {"design": "uniform"}}}),
    "predictors of one activation": (TWO, {"predictors": PREDICTOR | {"models": [1, 3]}}),
    "predictors of several batch sizes": ({"batch_size": [8, 16]}, {"predictors": PREDICTOR}),
    "predictors of one architecture": (ARCHITECTURES, {"predictors": PREDICTOR | {"models": [0, 2]}}),
    "small networks of one stack": ({"batch_size": [8, 16]}, {"predictors": PREDICTOR | {
        "models": [0, 2], "controls": {"small": {"architecture": "mlp 3"}}}}),
    "an alignment": (ARCHITECTURES, {"alignments": {"zoo": "mine", "epoch": 2, "kind": "different_init"}}),
}  # fmt: skip
UNLIKE = "takes models that are alike, and those of zoo 'mine' differ in"
REFUSED = {
    "an autoencoder of two architectures": (
        ARCHITECTURES, {"autoencoders": AUTOENCODER}, "autoencoders.own.zoo: networks of zoo 'mine' have weights in"),
    "an autoencoder of other heads": (
        {"architecture": [["conv 8 2 0 2", "sequence", "linear 24", f"attention {heads}", "linear 8", "mean", "linear classes"]
                          for heads in (2, 4)]},
        {"autoencoders": AUTOENCODER}, "autoencoders.own.zoo: networks of zoo 'mine' have weights in"),
    "a baseline": (ARCHITECTURES, {"baselines": BASELINE}, "baselines.own.zoo: networks of zoo 'mine' have weights in unlike"),
    "all as teachers": (TWO, {"teachers": TEACHER}, f"teachers.own.models: {UNLIKE} activation \\('relu', 'tanh'\\)"),
    "all as originals": (
        ARCHITECTURES, {"predictors": PREDICTOR}, f"predictors.own.models: {UNLIKE} architecture \\('conv 4 3, "),
    "one to teach originals": (
        TWO, {"predictors": PREDICTOR | {"models": [0], "distillation": {
            "when": "jointly", "teacher": "mine", "logit_weight": 0.1}}},
        f"predictors.own.distillation.teacher: {UNLIKE} activation"),
    "small networks of two stacks": (
        {"batch_size": [8, 16]}, {"predictors": PREDICTOR | {"controls": {"small": {"architecture": "mlp 3"}}}},
        f"predictors.own.controls.small: {UNLIKE} batch_size"),
    "an architecture that does not fit": (
        {"architecture": ["mlp 5", "cnn"]}, {}, "zoos.mine.varied.architecture: layer 'conv 6 5' does not fit"),
    "a model that is not there": (TWO, {"predictors": PREDICTOR | {"models": [60]}}, "predictors.own.models: zoo 'mine' has"),
}  # fmt: skip


def built(tmp_path, varied, sections):
    content = scenario_of(varied) | {"figures": {}, "predictors": {}, "recoveries": {}, "autoencoders": {}}
    return read(tmp_path, cells_of(content, **sections))


@pytest.mark.parametrize(("varied", "sections"), FITS.values(), ids=FITS)
def test_who_reads_what_it_can_is_not_refused(tmp_path, varied, sections):
    check_scenario(built(tmp_path, varied, sections), "mine")


@pytest.mark.parametrize(("varied", "sections", "told"), REFUSED.values(), ids=REFUSED)
def test_networks_that_do_not_fit_a_reader_are_one_sentence(tmp_path, varied, sections, told):
    with pytest.raises(InputError, match=told) as error:
        check_scenario(built(tmp_path, varied, sections), "mine")
    assert "\n" not in str(error.value)


def test_small_networks_are_trained_as_their_originals_stack(tmp_path):
    sections = FITS["small networks of one stack"][1]
    assert built(tmp_path, {"batch_size": [8, 16]}, sections).small_recipe("own_small")["batch_size"] == 8
    assert changed("zoos.digits.batch_size", 8)["zoos"]["digits"]["batch_size"] == 8
