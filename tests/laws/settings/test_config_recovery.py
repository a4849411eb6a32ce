"""Settings of recoveries, predictors and figures that do not read: each is one sentence with its full key."""

import pytest
from small_scenario import BOX, DELETE, TRIES, changed, read
from weightspace.errors import InputError

WRONG = {
    # references
    "teachers of no such zoo": (
        "teachers.member.zoo", "mnist", "teachers.member.zoo: there is no cell 'mnist' in zoos, only digits, nets"),
    "teachers of an epoch that the zoo does not keep": (
        "teachers.member.epoch", 1, "teachers.member.epoch: zoo 'digits' keeps no epoch 1"),
    "predictors of an epoch that the zoo does not keep": (
        "predictors.own.epoch", 2, "predictors.own.epoch: zoo 'nets' keeps no epoch 2"),
    "predictors of no such zoo": (
        "predictors.own.zoo", "net", "predictors.own.zoo: there is no cell 'net' in zoos, only digits, nets"),
    "predictors of no models": ("predictors.own.models", [], "predictors.own.models: "),
    "a model twice": ("predictors.own.models", [0, 0], "predictors.own.models: names 0 twice"),
    "the mean of more epochs than there are": (
        "zoos.nets.averaged_epochs", 4, "zoos.nets: averaged_epochs is 4, and there are only 3 epochs"),
    "shared inits of other draws": (
        "zoos.digits", {
            "images": "digits", "architecture": "cnn_digits", "inits": ["normal"], "learning_rates": [0.1], "num_seeds": 4,
            "weight_decays": [0.0], "epochs": [0, 2], "shared_inits": 2, "draws": "teacher"},
        "zoos.digits: shared_inits are of draws combination"),
    "no such teacher": (
        "recoveries.made.teacher", "mad",
        "recoveries.made.teacher: there is no cell 'mad' in teachers, only box, file, made, member"),
    "queries of no such image set": (
        "recoveries.made.queries", {"design": "data", "images": "mnist"},
        "recoveries.made.queries.images: there is no cell 'mnist' in images, only digits"),
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
        "recoveries.made.students: epochs is 0 and second_order_steps is 0 or not set"),
    "an angle in degrees": ("recoveries.made.cluster", {"max_angle_rad": 60.0}, "recoveries.made.cluster.max_angle_rad:"),
    "a control of a seed that its predictor lacks": (
        "predictors.held.controls.noise.seeds", [1, 7], "predictors.held.controls.noise.seeds: the predictor has no seed 7"),
    "a control's teacher that is not there": (
        "predictors.held.controls.from_teacher", {"kind": "small", "architecture": "mlp", "teacher": "net"},
        "predictors.held.controls.from_teacher.teacher: there is no cell 'net' in zoos, only digits, nets"),
    "a seed for several bits": (
        "predictors.held.controls.quantized.seeds", [7], "predictors.held.controls.quantized.seeds: the predictor has no seed 7"),
    "the same control twice": (
        "predictors.held.controls.noise.seeds", [1, 1], "predictors.held.controls.noise.seeds: names 1 twice"),
    "bits twice": (
        "predictors.held.controls.quantized.bits", [8, 8],
        "predictors.held.controls.quantized.bits: Input should be 8, 6, 4, 3 or 2, or names 8 twice"),
    "a share of nothing": (
        "predictors.held.controls.pruned", {"kept_share": 0.0}, "predictors.held.controls.pruned.kept_share: "),
    "no bits": ("predictors.held.controls.quantized", {}, "predictors.held: controls.quantized: bits must be given"),
    "a control of no kind": ("predictors.held.controls.louder", {}, "predictors.held: controls.louder"),
    "a control's kind under a name of its own": (
        "predictors.held.controls.again", {"kind": "pruned"}, "predictors.held: controls.again: kept_share must be given"),
    "a predictor that is named as a control": (
        "predictors.held_noise", {"zoo": "nets", "seeds": [0], "hidden": 8, "steps": 3},
        "predictors.held.controls: a cell has the name 'held_noise' too"),
    "two controls of one name": (
        "predictors.own.controls", {"pruned": {"kept_share": [0.25, 0.251]}},
        "predictors.own: controls: two have the name 'pruned_25'"),
    "controls of two predictors with one name": (
        "predictors.held_small", {"zoo": "nets", "seeds": [0], "hidden": 8, "steps": 3,
        "controls": {"noise": {}}}, "predictors.held_small.controls: one of 'held' has the name 'held_small_noise' too"),
    "a recovery that is named as a baseline": (
        "recoveries.made_single", {"teacher": "made", "seeds": [0], "queries": {"design": "uniform"}},
        "recoveries.made.baselines: a cell has the name 'made_single' too"),
    "no sizes of kernels": ("predictors.own.kernel_sizes", [], "predictors.own: kernel_sizes: with none"),
    "a size of kernels twice": ("predictors.own.kernel_sizes", [3, 3], "predictors.own.kernel_sizes: names 3 twice"),
    "a stack of another that shares one": (
        "predictors.own.stack", "shared", "predictors.own.stack: 'shared' trains with 'alone' itself: name that one"
    ),
    "a stack of its own": ("predictors.own.stack", "own", "predictors.own.stack: 'own' trains with 'own' itself"),
    "a stack of a distillation": ("predictors.own.stack", "held", "predictors.own.stack: predictors with a distillation"),
    "another width in a stack": ("predictors.shared.hidden", 9, "predictors.shared.hidden: must be that of 'alone'"),
    "a distillation in a stack": ("predictors.held.stack", "alone", "predictors.held.stack: predictors with a distillation"),
    "the same recovery twice": ("recoveries.made.seeds", [0, 0], "recoveries.made.seeds: names 0 twice"),
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
    "no activations": ("recoveries.made.students", {"activations": []}, "recoveries.made.students.activations:"),
    "an expansion factor twice": (
        "recoveries.made.students", {"expansion_factors": [2.0, 2.0]},
        "recoveries.made.students.expansion_factors: names 2.0 twice"),
    "the same member twice": ("teachers.member.models", [1, 1], "teachers.member.models: names 1 twice"),
    "an unknown baseline": ("recoveries.made.baselines", ["best"], "recoveries.made.baselines.0:"),
    "a baseline twice": ("recoveries.made.baselines", ["single", "single"], "recoveries.made.baselines: names 'single' twice"),
    "a baseline of a black box": (
        "recoveries.box.baselines", ["single"], "recoveries.box.baselines: a black box has no size that a baseline could have"),
    "a table of a network": ("recoveries.made.queries.design", "table", "recoveries.made.queries.design: teachers of kind table"),
    "a file that is asked more": ("recoveries.made.teacher", "file", "recoveries.made.queries.design: teachers of kind table"),
    "a black box and no layers to try": (
        "recoveries.box.students", TRIES | {"architectures": None}, "recoveries.box.students: a black box needs"),
    "a black box and no activations to try": (
        "recoveries.box.students", TRIES | {"activations": None}, "recoveries.box.students: a black box needs"),
    "a file and nothing to try": (
        "recoveries.box", BOX | {"teacher": "file", "queries": {"design": "table"}},
        "recoveries.box.students: a black box needs"),
    # figures
    "no such figure": ("figures.rates", {}, "figures.rates: there is no such figure, only zoo_accuracy,"),
    "no such cell in a figure": (
        "figures.predictor_rate.cells", ["held", "hold"],
        "figures.predictor_rate.cells: there is no cell 'hold', only alone, held, own, shared, held_noise,"),
    "a cell of another stage in a figure": (
        "figures.predictor_rate.cells", ["made"], "figures.predictor_rate.cells: there is no cell 'made'"),
    "a cell of a figure twice": (
        "figures.predictor_rate.cells", ["held", "held"], "figures.predictor_rate.cells: names 'held' twice"),
    "a figure of no cells": ("figures.predictor_rate.cells", [], "figures.predictor_rate.cells:"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_one_sentence_with_its_file_and_full_key(tmp_path, key, value, told):
    with pytest.raises(InputError) as error:
        read(tmp_path, changed(key, value))
    assert f"{tmp_path / 'mine.yaml'}: {told}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("queries", [{"design": "boundary"}, {"design": "boundary", "images": "digits"}], ids=str)
def test_a_boundary_is_sought_between_images_or_without_any(tmp_path, queries):
    assert read(tmp_path, changed("recoveries.made.queries", queries)).recoveries["made"].queries.design == "boundary"
