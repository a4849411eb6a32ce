"""Checks before the first job: every shipped scenario passes, and each setting that fits no other is named."""

import subprocess
import sys
from textwrap import dedent

import pytest
from conftest import ROOT
from weightspace.checks import check_scenario
from weightspace.errors import InputError
from weightspace.options import Options, read_scenario
from weightspace.scenario import Scenario
from weightspace.settings import checked

SCENARIOS = sorted(ROOT.glob("config/scenarios/*.yaml"))
NET = ["flatten", "linear 4", "activation", "linear classes"]
STUDENTS = {"architectures": [["flatten", "linear 9", "activation", "linear classes"]], "activations": ["g"]}
RECIPE = {"inits": ["normal"], "learning_rates": [0.1], "weight_decays": [0.0], "epochs": [1]}
BOX = {"kind": "onnx", "path": "box.onnx", "input_shape": None}


def content():
    """A scenario in which everything fits."""
    queries = {"design": "data", "num": 10, "images": "digits"}
    return {
        "images": {"digits": {"source": "bundled_digits"}, "large": {"source": "parquet", "train": "a", "test": "b", "size": 28}},
        "zoos": {
            "tiny": {
                "images": "digits", "architecture": NET, "num_seeds": 40, "shared_inits": 2, **RECIPE,
            },
            "one": {"images": "digits", "architecture": NET, "num_seeds": 1, **RECIPE},
            "nets": {"images": "digits", "architecture": "resnet8", "num_seeds": 3, **RECIPE},
            "others": {"images": "large", "architecture": "resnet8", "num_seeds": 1, **RECIPE},
            "wide": {"images": "digits", "architecture": ["conv 4 5", "activation", *NET], "num_seeds": 1, **RECIPE},
            "mine": {"source": "checkpoints", "path": "mine"},
        },
        "autoencoders": {"plain": {"zoo": "tiny", "seeds": [0], "epochs": [1], "structure_weight": 1.0, "steps": 3}},
        "alignments": {"lines": {"zoo": "tiny", "epoch": 1, "kind": "different_init"}},
        "baselines": {"mean": {"zoo": "tiny", "epochs": [1], "kind": "init_mean"}},
        "teachers": {
            "trained": {"kind": "zoo", "zoo": "one"},
            "member": {"kind": "zoo", "zoo": "tiny", "models": [0, 5], "epoch": 1},
            "made": {"kind": "synthetic", "inputs": 3, "hidden": [4], "outputs": 1},
            "box": BOX,
        },
        "predictors": {
            "held": {
                "zoo": "nets", "seeds": [0], "hidden": 4, "steps": 3, "controls": {"small": {"architecture": NET}},
                "distillation": {"when": "jointly", "logit_weight": 0.1, "teacher": "nets"},
            },
            "deep": {"zoo": "nets", "seeds": [0], "hidden": 4, "steps": 3},
            "wide": {"zoo": "wide", "seeds": [0], "hidden": 4, "steps": 3},
        },
        "recoveries": {
            "trained": {"teacher": "trained", "seeds": [0], "queries": dict(queries), "cluster": {"mask": "boruta"}},
            "member": {"teacher": "member", "seeds": [0], "queries": dict(queries)},
            "made": {"teacher": "made", "seeds": [0], "queries": {"design": "uniform"}},
            "box": {"teacher": "box", "seeds": [0], "queries": {"design": "gaussian"}, "students": STUDENTS},
        },
    }  # fmt: skip


def changed(path, value):
    whole = content()
    *sections, key = path.split(".")
    place = whole
    for section in sections:
        place = place.setdefault(section, {})
    place[key] = value
    return checked(Scenario, whole, "scenario")


@pytest.mark.slow
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_shipped_scenario_fits(path):
    check_scenario(read_scenario([path.parent], Options(scenario=path.stem)), path.stem)


def test_what_fits_is_not_refused():
    check_scenario(checked(Scenario, content(), "scenario"), "planted")


UNFIT = {  # setting, its value, what is said of it
    "a zoo's layers": ("zoos.tiny.architecture", ["conv 3 9"], "the last layer must be"),
    "a difference from itself": ("autoencoders.plain.against", "plain", "must name another autoencoder"),
    "a difference from one of other seeds": (
        "autoencoders.other",
        content()["autoencoders"]["plain"] | {"against": "plain", "seeds": [1]}, "must name another autoencoder"),
    "queries of another shape": (
        "autoencoders.plain", content()["autoencoders"]["plain"] | {"queries": ["other"], "query_images": "large"},
        r"'large' has images of shape \(1, 28, 28\), the zoo's are \(1, 8, 8\)"),
    "a zoo of one model": ("autoencoders.plain.zoo", "one", "zoo 'one': 1 models give [01] train models: raise num_seeds"),
    "a zoo of one model as a rival": ("baselines.mean.zoo", "one", "zoo 'one': 1 models give [01] train models"),
    "a zoo of one model to align": ("alignments.lines.zoo", "one", "zoo 'one' has no two test models for different_init"),
    "a zoo without test models": (
        "zoos.tiny.test_share", 0.001, "zoo 'tiny': 40 models give 0 test models: raise num_seeds or the shares"),
    "no shared inits": ("zoos.tiny.shared_inits", None, "init_mean needs shared_inits of zoo 'tiny'"),
    "an init per model": ("zoos.tiny.shared_inits", 40, "zoo 'tiny' has a test model that shares its init with no train model"),
    "an init for all, and pairs of different ones": (
        "zoos.tiny.shared_inits", 1, "zoo 'tiny' has no two test models for different_init"),
    "nothing to align": ("zoos.tiny.architecture", ["flatten", "linear classes"], "networks of zoo 'tiny' have no hidden"),
    "nothing to permute": (
        "zoos.tiny.architecture", ["flatten", "linear classes"], "networks of zoo 'tiny' have no hidden layers"),
    "too few positions": (
        "autoencoders.plain.position_tables", {"sequence": 14, "layer": 2, "unit": 9}, "9 rows are too few for 10 positions"),
    "a network that nothing holds": (
        "zoos.tiny.architecture", ["flatten", "linear 100000000", "activation", "linear classes"], "the network would have 7,5"),
    "a teacher's layers": ("zoos.one.architecture", ["conv 3 9", *NET], "layer 'conv 3 9'"),
    "a teacher with sums": ("zoos.one.architecture", ["branch", "conv 1 3 1", "add", *NET], "recovery reads chains"),
    "no such original": ("predictors.held.models", [0, 3], "zoo 'nets' has models 0 to 2"),
    "originals without images": ("predictors.deep.zoo", "mine", "zoo 'mine' has no images"),
    "a mean that is not kept": (
        "predictors.held.controls.averaged", {}, "zoo 'nets' keeps no mean weights of last epochs, which only a trained zoo"),
    "a teacher without images": ("predictors.held.distillation.teacher", "mine", "zoo 'mine' has no images: give it `images`"),
    "batch norm of teachers": ("zoos.tiny.architecture", ["conv 3 3", "batch_norm", *NET], "recovery reads chains"),
    "layer_norm of teachers": ("zoos.tiny.architecture", ["layer_norm", *NET], "recovery reads chains"),
    "no such member": ("teachers.member.models", [1, 40], "zoo 'tiny' has models 0 to 39"),
    "other images": ("recoveries.trained.queries.images", "large", "'large' has images of shape"),
    "other images of a zoo": ("recoveries.member.queries.images", "large", r".* take \(1, 8, 8\)"),
    "a boundary of one class": ("recoveries.made.queries.design", "boundary", "a teacher with one output"),
    "a probability of one class": ("recoveries.made.outputs", "probabilities", "a teacher with one output"),
    "one function twice": ("recoveries.made.students.activations", ["tanh", "g", "sigmoid"], "tanh and sigmoid are one"),
    "originals' layers": ("zoos.nets.architecture", "resnet99", "there is no architecture 'resnet99'"),
    "an even kernel": ("zoos.nets.architecture", ["conv 4 4", *NET], "kernels of conv1.weight are 4 x 4, and only odd"),
    "no such kernel": ("predictors.held.kernel_sizes", [5], r"nothing to predict: .* of sizes \[1, 3\]"),
    "kernels of another size": ("predictors.wide.stack", "deep", "its predictors put out 5 x 5 kernels, those of 'deep' 3 x 3"),
    "a teacher of others": ("predictors.held.distillation.teacher", "others", "'others' is of other images than 'nets'"),
    "a small network's layers": ("predictors.held.controls.small.architecture", "resnet99", "there is no architecture"),
    "a small one's teacher": ("predictors.held.controls.small.teacher", "others", "'others' is of other images"),
    "a mask of a convolution": ("zoos.one.architecture", ["conv 3 3", *NET], "a convolution reads pixels"),
    "a mask without images": ("recoveries.made.cluster.mask", "boruta", "only teachers of a zoo"),
    "students' layers": ("recoveries.trained.students.architectures", [["lineal 3", "linear classes"]], "layer .lineal 3. does"),
    "students of a box": ("recoveries.box.students.architectures", [["flatten", "linear 3"]], "the last layer must be"),
}  # fmt: skip


ELSEWHERE = {  # setting and how its value begins: the key that is named
    ("autoencoders.other", "{'zoo"): "autoencoders.other.against",
    ("autoencoders.plain", "{'zoo"): "autoencoders.plain.query_images",
    ("zoos.nets.architecture", "['con"): "predictors.held.kernel_sizes",
    ("zoos.one.architecture", "['bra"): "teachers.trained.zoo",
    ("zoos.one.architecture", "['con"): "(recoveries.trained.cluster.mask|zoos.one.architecture)",
    ("alignments.lines.zoo", "one"): "alignments.lines.kind",
    ("zoos.tiny.test_share", "0.001"): "autoencoders.plain.zoo",
    ("autoencoders.plain.position_tables", "{'seq"): "autoencoders.plain.position_tables.unit",
    ("zoos.tiny.shared_inits", "None"): "baselines.mean.kind",
    ("zoos.tiny.shared_inits", "40"): "baselines.mean.kind",
    ("zoos.tiny.shared_inits", "1"): "alignments.lines.kind",
    ("zoos.tiny.architecture", "['con"): "(teachers.member.zoo|zoos.tiny.architecture)",
    ("zoos.tiny.architecture", "['lay"): "teachers.member.zoo",
    ("zoos.tiny.architecture", "['fla"): "(alignments.lines.zoo|autoencoders.plain.views|zoos.tiny.architecture)",
}


@pytest.mark.slow
@pytest.mark.parametrize(("path", "value", "sentence"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_named(path, value, sentence):
    scenario = changed(path, value)
    with pytest.raises(InputError, match=f"(?s)scenario planted:.* {ELSEWHERE.get((path, str(value)[:5]), path)}: {sentence}"):
        check_scenario(scenario, "planted")


def test_several_settings_that_do_not_fit_stand_in_a_line_each():
    scenario = changed("zoos.tiny.num_seeds", 5)
    with pytest.raises(InputError) as error:
        check_scenario(scenario, "planted")
    assert [line.partition(": ")[0] for line in str(error.value).splitlines()] == [
        "scenario planted:", "  autoencoders.plain.zoo", "  baselines.mean.zoo", "  teachers.member.models",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_zoo_in_groups_is_one_but_no_teacher_of_recovery():
    scenario = changed("zoos.tiny.architecture", ["conv 2 3", "conv 2 3 1 1 2", *NET])
    with pytest.raises(InputError, match="scenario planted: teachers.member.zoo: recovery reads chains"):
        check_scenario(scenario, "planted")
    check_scenario(
        changed("zoos.tiny.architecture", ["conv 2 3", "avg_pool 2", "dropout 0.5", *NET]).model_copy(
            update={"teachers": {}, "recoveries": {}}
        ),
        "planted",
    )


@pytest.mark.slow
def test_scenarios_are_checked_without_torch():
    code = f"""
        import sys
        sys.path.insert(0, {str(ROOT / "workflow/scripts")!r})
        from pathlib import Path
        import weightspace.images.check, weightspace.stored, weightspace.zoo.checking
        from weightspace.checks import check_scenario
        from weightspace.options import Options, read_scenario
        for path in Path({str(ROOT / "config/scenarios")!r}).glob("*.yaml"):
            check_scenario(read_scenario([path.parent], Options(scenario=path.stem)), path.stem)
        sys.exit("torch" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", dedent(code)], check=False).returncode == 0
