"""The workflow as its users meet it: what runs, what runs again, what is refused, what is drawn."""

import os
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import JOB, ROOT
from planted_images import write_labels
from weightspace.options import Options, read_scenario
from weightspace.report.registry import SIDE_TABLES

SCENARIOS = sorted(path.stem for path in (ROOT / "config/scenarios").glob("*.yaml"))
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
LIBRARY = sorted((ROOT / "workflow/scripts/weightspace").rglob("*.py"))
RULES = {
    name: body
    for path in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.MULTILINE)
}
RECOVERY_FIGURES = [f"recovery_{name}" for name in ("clusters", "coverage", "neurons", "sizes", "solved")]
PREDICTOR_FIGURES = [f"predictor_{name}" for name in ("error", "kernels", "rate", "rounds", "spectra")]
ZOO_FIGURES = ["zoo_accuracy", "zoo_alignment"]
GENERATION_FIGURES = [f"generation_{name}" for name in ("distances", "fine_tuning", "plane")]
FIGURES = [
    "claims",
    "code_size",
    "collapse",
    "embeddings",
    *GENERATION_FIGURES,
    "losses",
    *PREDICTOR_FIGURES,
    "probes",
    "rate",
    "reconstruction",
    *RECOVERY_FIGURES,
    *ZOO_FIGURES,
]
KINDS = ("pdf", "png", "html")
DRAWN = ["judge_claims", "tell_recoveries", *(f"plot_figure figure={name}" for name in FIGURES)]
REPORT = sorted(["all", "collect_metrics", "tabulate_timings", *DRAWN])
SMOKE_AUTOENCODERS = ["contrast_structure, seed=0", "contrast_structure, seed=1", "contrast_structure_behavior_softmax, seed=0"]
RECOVERIES = ["discrete, seed=0", "discrete, seed=1", "member, seed=0", "softplus, seed=0"]
RECOVERY_BASELINES = [
    f"evaluate_recovery_baseline recovery_baseline=discrete_{kind}" for kind in ("distilled", "pruned", "single")
]
PREDICTORS = [
    ("alone", 0), ("alone_cnn", 0), ("alone_cnn", 1), ("alone_in_filter", 0), ("joint", 0), ("joint", 1), ("rounds", 0),
]  # fmt: skip
CONTROLS = [
    ("alone_cnn_noise", 0), ("joint_noise", 0), ("joint_noise", 1), ("rounds_low_pass", 0), ("rounds_quantized_4", 0),
    ("rounds_small", 0),
]  # fmt: skip
ALIGNMENTS = [f"align_zoo alignment=tiny_{kind}" for kind in ("different", "same")]
BASELINES = [f"evaluate_baseline baseline={cell}" for cell in ("init_mean", "noise", "pca", "quantized")]
GENERATIONS = [f"generate_networks generation=tiny_{sampler}, seed=0" for sampler in ("published", "token")]
RIVALS = [f"tiny_{sampler}_{kind}" for sampler in ("published", "token") for kind in ("anchors", "reconstructions", "scratch")]
NOTICES = ("Using workflow specific profile", "Config file ")  # what Snakemake says before it reads the settings


def autoencoder_jobs(*rules, cells=SMOKE_AUTOENCODERS):
    return [f"{rule} autoencoder={cell}" for rule in rules for cell in cells]


def recovery_jobs(*rules, cells=RECOVERIES):
    return [f"{rule} recovery={cell}" for rule in rules for cell in cells]


ATTACK = ("ask_teachers", "train_students", "recover_networks", "compare_recovery")


def drawn(folder):
    """Bytes of every figure in a folder, by file name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("figures/*"))}


# A scenario runs.


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_is_planned_or_says_which_image_file_it_lacks(scenario, clone):
    images_dir = Path(os.environ.get("WEIGHTSPACE_IMAGES_DIR", "resources"))
    sets = read_scenario([ROOT / "config/scenarios"], Options(scenario=scenario)).images
    files = [images_dir / file for own in sets.values() for file in (*own.train, *own.test) if isinstance(file, str)]
    missing = [file for file in files if not (clone.folder / file).is_file()]
    output = clone._replace(scenario=scenario).snakemake("-n", config=[f"images_dir={images_dir}"], fails=bool(missing))
    if missing:
        assert any(f"no file {file}; set images_dir" in output for file in missing)
        pytest.skip(f"{missing[0]} is not there: set WEIGHTSPACE_IMAGES_DIR")
    assert "rule all:" in output


def test_the_smoke_scenario_makes_every_figure_table_and_page(smoke):
    names = [f"figures/{figure}.{kind}" for figure in FIGURES for kind in KINDS]
    names += ["metrics.parquet", "cells.parquet", "recoveries.md", "recoveries.html"]
    names += [f"{page}.{kind}" for page in ("claims", "timings") for kind in ("parquet", "md", "html")]
    files = [smoke.results / name for name in names]
    assert [str(file) for file in files if not file.is_file() or not file.stat().st_size] == []
    assert sorted(drawn(smoke.results)) == sorted(f"{figure}.{kind}" for figure in FIGURES for kind in KINDS)


def test_the_metrics_table_has_every_stage_cell_and_seed(smoke):
    table = pq.read_table(smoke.results / "metrics.parquet").to_pandas()
    found = set(table[["scenario", "stage", "cell", "seed"]].itertuples(index=False, name=None))
    cells = {("contrast_structure", 0), ("contrast_structure", 1), ("contrast_structure_behavior_softmax", 0)}
    expected = {("smoke", "zoo", cell, 0) for cell in ("cnn", "residual", "softplus", "tiny")}
    expected |= {("smoke", "autoencoder", *cell) for cell in cells}
    expected |= {("smoke", "alignment", f"tiny_{kind}", 0) for kind in ("different", "same")}
    expected |= {("smoke", "baseline", cell, 0) for cell in ("init_mean", "noise", "pca", "quantized")}
    expected |= {("smoke", "recovery", *cell) for cell in (("discrete", 0), ("discrete", 1), ("member", 0), ("softplus", 0))}
    expected |= {("smoke", "recovery_baseline", f"discrete_{kind}", 0) for kind in ("distilled", "pruned", "single")}
    expected |= {("smoke", "predictor", *cell) for cell in PREDICTORS}
    expected |= {("smoke", "predictor_control", *cell) for cell in CONTROLS}
    expected |= {("smoke", "generation", f"tiny_{sampler}", 0) for sampler in ("published", "token")}
    expected |= {("smoke", "generation_rival", cell, 0) for cell in RIVALS}
    assert found == expected
    measured = set(table["metric"])
    assert {"diverged", "test_accuracy", "loss_total", "weights_squared_error", "verdict", "learned"} <= measured
    assert {
        f"probe_error_test_accuracy_{features}" for features in ("embedding", "random_encoder", "weight_statistics")
    } <= measured


def test_the_timings_tell_of_every_benchmarked_rule(smoke):
    timings = pq.read_table(smoke.results / "timings.parquet").to_pandas().set_index("rule")["jobs"].to_dict()
    expected = {"fetch_images": 1, "train_zoo": 5, "join_zoo": 4, "train_autoencoder": 3, "evaluate_autoencoder": 3}
    expected |= {"measure_zoo": 1, "align_zoo": 2, "generate_networks": 2}
    expected |= {"evaluate_baseline": 4, "make_teachers": 3, "evaluate_recovery_baseline": 3}
    expected |= {
        "order_kernels": 4,
        "train_predictors": 3,
        "evaluate_predictors": 7,
        "evaluate_predictor_control": 6,
    }
    assert timings == expected | dict.fromkeys(ATTACK, 4)


# A second run repeats what changed, and nothing else.


def test_a_second_run_has_nothing_to_do(smoke):
    assert "Nothing to be done" in smoke.snakemake("--cores", "2")


def test_outputs_restored_with_other_dates_do_not_run_again_for_that(finished):
    """Nor does code that is newer than they are."""
    files = sorted(path for path in finished.results.rglob("*") if path.is_file())
    for number, path in enumerate(reversed(files)):
        os.utime(path, (1.6e9 + number, 1.6e9 + number))
    for path in finished.folder.glob("workflow/**/*.py"):
        path.touch()
    assert finished.planned() == []


def test_an_input_whose_content_changed_reruns_its_readers(finished):
    path = finished.results / "zoo/tiny/models.parquet"
    path.touch()
    assert finished.planned() == []
    path.write_bytes(path.read_bytes() + b" ")
    readers = autoencoder_jobs("train_autoencoder", "evaluate_autoencoder") + BASELINES + ALIGNMENTS + GENERATIONS
    assert finished.planned() == sorted(readers + REPORT)


def test_a_comment_or_another_layout_of_the_settings_reruns_nothing(finished):
    path = finished.folder / "config/scenarios/smoke.yaml"
    path.write_text(f"# said anew\n{path.read_text()}")
    assert finished.planned() == []
    finished.edit(lambda content: content.update(predictors=dict(reversed(content["predictors"].items()))))
    assert finished.planned() == []


def test_a_changed_autoencoder_reruns_itself_and_the_report(finished):
    finished.edit(lambda content: content["autoencoders"]["contrast_structure_behavior_softmax"].update(latent=6))
    changed = autoencoder_jobs("train_autoencoder", "evaluate_autoencoder", cells=SMOKE_AUTOENCODERS[2:])
    assert finished.planned() == sorted(changed + REPORT + ["write_cells"])


def test_units_of_a_zoo_are_ordered_once_for_all_that_align_it(clone):
    def align(content):
        for cell in (*content["autoencoders"].values(), content["baselines"]["pca"]):
            cell["align"] = True

    assert not [job for job in clone.planned() if job.startswith("order_units")]
    clone.edit(align)
    assert [job for job in clone.planned() if job.startswith("order_units")] == ["order_units zoo=tiny"]


def test_a_label_a_group_and_what_a_figure_shows_train_nothing(finished):
    finished.edit(lambda content: content["autoencoders"]["contrast_structure"].update(label="mine", group="ours"))
    assert finished.planned() == sorted(["all", "write_cells", *DRAWN])
    finished.edit(lambda content: content["autoencoders"]["contrast_structure"].update(label="C + S", group=None))
    finished.edit(lambda content: content.update(figures={"collapse": {"cells": ["pca", "contrast_structure"]}}))
    assert finished.planned() == ["all", "plot_figure figure=collapse"]


def test_a_new_baseline_and_a_new_control_train_nothing_else(finished):
    finished.edit(lambda content: content["recoveries"]["softplus"].update(baselines=["single"]))
    finished.edit(lambda content: content["predictors"]["alone"].update(controls={"noise": {}}))
    added = [
        "evaluate_recovery_baseline recovery_baseline=softplus_single",
        "evaluate_predictor_control predictor_control=alone_noise, seed=0",
    ]
    assert finished.planned() == sorted([*added, *REPORT, "write_cells"])


def test_a_new_seed_reruns_no_other_seed(finished):
    finished.edit(lambda content: content["autoencoders"]["contrast_structure"].update(seeds=[0, 1, 2]))
    added = autoencoder_jobs("train_autoencoder", "evaluate_autoencoder", cells=["contrast_structure, seed=2"])
    assert finished.planned() == sorted(added + REPORT)


def test_a_changed_zoo_reruns_zoo_and_autoencoders_but_not_its_images(finished):
    finished.edit(lambda content: content["zoos"]["tiny"].update(batch_size=16))
    zoo = ["join_zoo zoo=tiny", "train_zoo zoo=tiny, shard=0", "train_zoo zoo=tiny, shard=1"]
    zoo += ["measure_zoo zoo=tiny", *ALIGNMENTS]
    member = ["make_teachers teacher=member", *recovery_jobs(*ATTACK, cells=["member, seed=0"])]
    learners = autoencoder_jobs("train_autoencoder", "evaluate_autoencoder")
    assert finished.planned() == sorted(zoo + learners + BASELINES + GENERATIONS + member + REPORT + ["write_cells"])


def test_a_zoo_is_trained_again_where_weights_are_read_that_it_does_not_store(finished):
    finished.edit(lambda content: content["zoos"]["tiny"].update(weights=[1, 3]))
    assert finished.planned() == []
    finished.edit(lambda content: content["zoos"]["tiny"].update(weights="read"))
    finished.edit(lambda content: content["baselines"]["pca"].update(epochs=[0, 3]))
    assert {"train_zoo zoo=tiny, shard=0", "train_zoo zoo=tiny, shard=1"} < set(finished.planned())


def test_a_shard_whose_folder_is_gone_is_trained_again_for_what_reads_it(finished):
    shutil.rmtree(finished.results / "zoo/tiny/shards/1")
    (finished.results / "baseline/pca/metrics.parquet").unlink()
    planned = finished.planned("results/smoke/baseline/pca/metrics.parquet")
    assert planned == ["evaluate_baseline baseline=pca", "join_zoo zoo=tiny", "train_zoo zoo=tiny, shard=1"]


def test_changed_students_rerun_their_recovery_and_its_baselines_but_ask_no_teacher(finished):
    finished.edit(lambda content: content["recoveries"]["discrete"]["students"].update(epochs=10))
    changed = recovery_jobs("train_students", "recover_networks", "compare_recovery", cells=RECOVERIES[:2])
    assert finished.planned() == sorted(changed + RECOVERY_BASELINES + REPORT + ["write_cells"])


def test_a_changed_predictor_reruns_itself_and_its_controls(finished):
    finished.edit(lambda content: content["predictors"]["rounds"].update(steps=41))
    controls = [
        f"evaluate_predictor_control predictor_control={cell}, seed={seed}"
        for cell, seed in CONTROLS
        if cell.startswith("rounds")
    ]
    own = ["evaluate_predictors predictor=rounds, seed=0", "train_predictors predictor=rounds"]
    assert finished.planned() == sorted(controls + own + REPORT + ["write_cells"])


def test_another_seed_trains_all_predictors_of_its_cell_anew(finished):
    finished.edit(lambda content: content["predictors"]["joint"].update(seeds=[1, 0, 2]))
    planned = [job for job in finished.planned() if "predictor=" in job or "predictor_control=" in job]
    evaluated = [f"evaluate_predictors predictor=joint, seed={seed}" for seed in (0, 1, 2)]
    controls = [f"evaluate_predictor_control predictor_control=joint_noise, seed={seed}" for seed in (0, 1)]
    assert planned == sorted([*controls, *evaluated, "train_predictors predictor=joint"])


def test_cells_that_share_a_stack_train_in_one_job_anew(finished):
    finished.edit(lambda content: content["predictors"]["alone_cnn"].update(order="none"))
    planned = [job for job in finished.planned() if "predictor=" in job or "predictor_control=" in job]
    evaluated = [f"evaluate_predictors predictor={cell}, seed={seed}" for cell, seed in PREDICTORS if cell.startswith("alone")]
    control = "evaluate_predictor_control predictor_control=alone_cnn_noise, seed=0"
    assert planned == sorted([control, *evaluated, "train_predictors predictor=alone"])


def test_predictors_without_distillation_are_trained_without_images(finished):
    finished.edit(lambda content: content["predictors"].update(joint=content["predictors"]["joint"] | {"distillation": None}))
    output = finished.snakemake("--dry-run")
    (inputs,) = re.findall(r"rule train_predictors:\n    input: (.*)\n    output: .*/joint/", output)
    assert set(inputs.split(", ")) == {
        "results/smoke/zoo/residual/weights.safetensors",
        "results/smoke/zoo/residual/shards/0",
        "results/smoke/zoo/residual/orders/in_filter.safetensors",
    }


def test_only_the_teachers_themselves_and_the_comparison_read_the_teachers_weights():
    readers = {
        name for name, body in RULES.items() if re.search(r"\n    input:\n(?:        .*\n)*        teachers=", f"\n{body}")
    }
    assert readers == {"ask_teachers", "compare_recovery", "evaluate_recovery_baseline"}


def test_a_raised_version_of_the_evaluation_reruns_the_evaluation_alone(finished):
    path = finished.folder / "workflow/scripts/weightspace/stages.py"
    text, times = re.subn(r'"evaluation": (\d+)', lambda match: f'"evaluation": {int(match[1]) + 1}', path.read_text())
    assert times == 1
    path.write_text(text)
    assert finished.planned() == sorted(autoencoder_jobs("evaluate_autoencoder") + BASELINES + REPORT)


# Settings that cannot be run are refused before the first job.

PARQUET = {"source": "parquet", "train": "mnist/train.parquet", "test": "mnist/test.parquet"}
AE = "autoencoders.contrast_structure"
BAD_SETTINGS = {  # key, its new value, what is said
    "unknown key": ("zoos.tiny.optimiser", "adam", "zoos.tiny.optimiser: there is no such setting"),
    "unknown section": ("autoencoder", {}, "autoencoder: there is no such setting"),
    "wrong type": ("zoos.tiny.num_seeds", "eight", "zoos.tiny.num_seeds: Input should be a valid integer"),
    "wrong type in a list": (
        "zoos.tiny.learning_rates",
        [0.1, "big"],
        "zoos.tiny.learning_rates.1: Input should be a valid",
    ),
    "a number for a truth": (f"{AE}.standardize", 1, f"{AE}.standardize: Input should be a valid boolean"),
    "out of range": ("zoos.tiny.test_share", 1.5, "zoos.tiny.test_share: Input should be less than 1"),
    "negative": (f"{AE}.steps", -1, f"{AE}.steps: Input should be greater than 0"),
    "none of the choices": ("zoos.tiny.activation", "rely", "zoos.tiny.activation: Input should be 'relu'"),
    "no loss": (
        AE,
        {"zoo": "tiny", "seeds": [0], "epochs": [1], "steps": 1},
        f"{AE}: contrast_weight, structure_weight, behavior_weight",
    ),
    "no such image set": ("zoos.tiny.images", "mnist", "zoos.tiny.images: there is no cell 'mnist' in images, only digits"),
    "no such zoo": (f"{AE}.zoo", "big", f"{AE}.zoo: there is no cell 'big' in zoos, only tiny"),
    "no such epoch": (f"{AE}.epochs", [2], f"{AE}.epochs: zoo 'tiny' keeps no epoch 2"),
    "no such architecture": ("zoos.tiny.architecture", "resnet", "zoos.tiny.architecture: there is no architecture 'resnet'"),
    "too deep an architecture": ("zoos.tiny.architecture", "lenet5", "zoos.tiny.architecture: layer 'conv 16 5' does not fit"),
    "a section left empty": ("zoos", None, "zoos: Input should be an object"),
}


def set_key(content, path, value):
    *sections, key = path.split(".")
    for section in sections:
        content = content[section]
    content[key] = value


def said(output):
    """Lines on the terminal but Snakemake's notices and its place in the code."""
    return [line for line in output.splitlines() if line.strip() and not line.startswith(NOTICES)]


@pytest.mark.parametrize(("key", "value", "sentence"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_stop_with_one_sentence_before_any_job(key, value, sentence, clone):
    clone.edit(lambda content: set_key(content, key, value))
    output = clone.snakemake("--cores", "1", fails=True)
    lines = [line for line in said(output) if not re.match(r'\s*File ".*", line|WorkflowError in file', line)]
    assert len(lines) == 1, output
    assert sentence in lines[0]
    assert "; " not in lines[0]
    assert jobs_of_run(clone) == []


def test_several_wrong_settings_are_said_one_a_line_and_their_file_once(clone):
    clone.edit(lambda content: content["zoos"]["tiny"].update(optimiser="adam", num_seeds="eight"))
    lines = said(clone.snakemake("--dry-run", fails=True))
    start = lines.index("error: config/scenarios/smoke.yaml:")
    assert all(line.startswith("  zoos.tiny.") for line in lines[start + 1 : start + 3])
    assert " ".join(lines[start:]).count("smoke.yaml") == 1


def test_a_missing_image_file_is_said_in_one_sentence_before_any_job(clone):
    clone.edit(lambda content: set_key(content, "images.digits", PARQUET))
    output = clone.snakemake("--cores", "1", fails=True)
    assert said(output)[-1] == "error: smoke.yaml: images.digits.train: no file resources/mnist/train.parquet; set images_dir"
    assert "Traceback" not in output
    assert jobs_of_run(clone) == []


def test_labels_beyond_the_classes_are_said_in_one_sentence_before_any_job(clone):
    clone.edit(lambda content: set_key(content, "images.digits", PARQUET))
    write_labels(clone.folder / "resources/mnist/train.parquet", [0, 12])
    output = clone.snakemake("--cores", "1", fails=True)
    file = "resources/mnist/train.parquet"
    assert said(output)[-1] == f"error: smoke.yaml: images.digits.train: {file}: has labels from 0 to 12, num_classes is 10"
    assert "Traceback" not in output
    assert jobs_of_run(clone) == []


BAD_OPTIONS = {
    "unknown scenario": ("scenario=smok", "there is no scenario 'smok', only cifar10"),
    "scenario that is no name": ("scenario=../smoke", "config: scenario: String should match pattern"),
    "unknown option": ("scenari=smoke", "config: scenari: there is no such setting"),
    "unknown device": ("device=gpu", "config: device: Input should be 'auto', 'cpu' or 'cuda'"),
}


@pytest.mark.parametrize(("option", "sentence"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options_stop_with_one_sentence_before_any_job(option, sentence, clone):
    output = clone.snakemake("--cores", "1", config=[option], fails=True)
    assert [sentence in line for line in said(output)].count(True) == 1
    assert "Traceback" not in output
    assert jobs_of_run(clone) == []


def jobs_of_run(project):
    """Log files of the jobs that ran."""
    return list(project.folder.glob("results/*/logs/**/*.log"))


def test_a_refusal_is_the_sentence_and_nothing_else(clone):
    lines = said(clone.snakemake("--cores", "1", config=["scenario=smok"], fails=True))
    assert [line for line in lines if "there is no scenario" not in line] == []


# Figures are drawn again with no training.


def test_figures_are_drawn_again_byte_for_byte_and_nothing_is_trained(finished):
    before = drawn(finished.results)
    shutil.rmtree(finished.results / "figures")
    finished.edit(lambda content: content["zoos"]["tiny"].update(batch_size=16))
    output = finished.snakemake("--cores", "2", "regenerate_figures", config=["figures=collapse,claims"])
    assert re.findall(r"^(?:local)?rule (\w+):", output, re.MULTILINE) == ["regenerate_figures"]
    assert "2 figures" in output
    after = drawn(finished.results)
    assert after == {name: before[name] for name in after}
    assert {name.partition(".")[0] for name in after} == {"collapse", "claims"}


def test_a_run_after_figures_were_drawn_again_has_nothing_to_do(finished):
    finished.snakemake("--cores", "2", "regenerate_figures", config=["figures=losses,claims"])
    assert finished.planned() == []


def test_a_clone_draws_every_figure_from_its_reference_table_and_needs_no_image_file(smoke, clone):
    clone.edit(lambda content: set_key(content, "images.digits", PARQUET))
    reference = clone.folder / "results/reference/smoke"
    reference.mkdir(parents=True)
    kept = ["metrics.parquet", "cells.parquet", *(f"{name}.parquet" for name in SIDE_TABLES)]
    for name in kept:
        shutil.copy2(smoke.results / name, reference)
    assert f"{len(FIGURES)} figures" in clone.snakemake("--cores", "2", "regenerate_figures")
    assert drawn(clone.results) == drawn(smoke.results)
    assert (clone.results / "claims.md").read_text() == (smoke.results / "claims.md").read_text()
    assert sorted(path.name for path in reference.iterdir()) == sorted(kept)


def test_without_any_table_the_figures_say_which_is_missing_and_how_to_make_it(clone):
    output = clone.snakemake("--cores", "2", "regenerate_figures", fails=True)
    assert "results/smoke/metrics.parquet is missing" in output
    assert "snakemake --cores 2 --config scenario=smoke" in output
    assert "Traceback" not in output


def test_the_report_shows_every_figure_and_page(finished):
    finished.snakemake("--report", "report.html")
    html = (finished.folder / "report.html").read_text()
    items = [f"figures/{figure}.html" for figure in FIGURES] + ["claims.html", "timings.html", "recoveries.html"]
    assert [item for item in items if f"results/smoke/{item}" not in html] == []


# Rules and scripts keep their form.

LEARNING = ("train_zoo", "train_autoencoder", "train_students", "train_predictors")
TRAINING_CONTROLS = ("evaluate_recovery_baseline", "evaluate_predictor_control", "generate_networks")  # some train networks


@pytest.mark.parametrize("name", RULES)
def test_every_rule_that_a_cluster_runs_states_memory_and_time(name):
    body = f"\n{RULES[name]}"
    assert [part for part in ("\n    log:\n", "\n    script:\n") if part not in body] == []
    assert "\n    localrule: True\n" in body or ("mem_mb=" in body and "runtime=" in body)
    assert ("gpu=" in body) == (name.startswith("train_") or name in TRAINING_CONTROLS)
    assert f'"../scripts/{name}.py"' in body


def test_training_asks_for_the_scenarios_minutes_an_order_for_four_hours_and_all_else_for_one_at_most(clone):
    clone.edit(lambda content: content.update(training_minutes=77))
    jobs = JOB.findall(clone.snakemake("--dry-run"))
    asked = {(rule, int(minutes)) for rule, body in jobs for minutes in re.findall(r"runtime=(\d+)", body)}
    training = {rule for rule, minutes in asked if minutes == 77}
    assert training == {*LEARNING, *TRAINING_CONTROLS, "recover_networks"}
    assert ("order_kernels", 240) in asked
    assert max(minutes for rule, minutes in asked if rule not in training | {"order_kernels"}) <= 60


@pytest.mark.parametrize(("device", "gpus"), [("auto", "0"), ("cpu", "0"), ("cuda", "1")])
def test_training_asks_for_a_gpu_where_the_settings_name_one(device, gpus, clone):
    output = clone.snakemake("--dry-run", config=[f"device={device}"])
    asked = {(rule, *re.findall(r"gpu=(\d+)", body)) for rule, body in JOB.findall(output) if "gpu=" in body}
    assert asked == {(rule, gpus) for rule in (*LEARNING, *TRAINING_CONTROLS)}


def test_the_memory_that_images_take_is_added_to_what_their_jobs_ask_for(clone):
    def memory():
        jobs = dict(JOB.findall(clone.snakemake("--dry-run")))
        rules = ("fetch_images", "plot_figure", *LEARNING, *TRAINING_CONTROLS)
        return {rule: int(re.search(r"mem_mb=(\d+)", jobs[rule])[1]) for rule in rules}

    before = memory()
    clone.edit(lambda content: content.update(images_mem_mb=7000))
    assert memory() == {rule: mem + (7000 if rule != "plot_figure" else 0) for rule, mem in before.items()}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_is_short_and_named_after_its_rule(path):
    assert path.stem in RULES
    assert len(path.read_text().splitlines()) <= 25


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_the_library_unpickles_nothing(path):
    """Files of torch are read by its reader of tensors alone."""
    assert (
        re.findall(
            r"\bimport pickle|\btorch\.load\b(?!\(.*\bweights_only=True\))|\bjoblib\b|\bpd\.read_pickle\b|allow_pickle=True",
            path.read_text(),
        )
        == []
    )
