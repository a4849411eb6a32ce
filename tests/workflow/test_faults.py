"""Killed jobs go on where they were, with the same numbers; damaged files stop a job with their name."""

import os
import re
import shutil
import signal
import time
from contextlib import suppress

import psutil
import pyarrow.parquet as pq
import pytest
from conftest import copy_sources
from weightspace.errors import InputError
from weightspace.store import load_tensors

KEPT = [  # what training leaves
    "zoo/tiny/shards/0/manifest.safetensors",
    "zoo/tiny/shards/0/0000000.safetensors",
    "zoo/tiny/shards/0/0000024.safetensors",
    "zoo/tiny/shards/0.parquet",
    "zoo/tiny/weights.safetensors",
    "zoo/tiny/models.parquet",
    "autoencoder/behavior/seed-0/model.safetensors",
    "autoencoder/behavior/seed-0/losses.parquet",
    "autoencoder/behavior/seed-0/metrics.parquet",
]
ZOO_STATE, AUTOENCODER_STATE = "zoo/tiny/shards/0.state", "autoencoder/behavior/seed-0/model.safetensors.state"
ARGUMENTS = ("--cores", "1", f"results/smoke/{KEPT[-1]}")


def train_longer(content):
    """One zoo in four stacks and one autoencoder, each some seconds of training: time to be killed in."""
    content["zoos"] = {"tiny": content["zoos"]["tiny"]}
    content["zoos"]["tiny"].update(epochs=[0, 1, 120], stack_size=8, num_shards=1)
    cell = content["autoencoders"]["contrast_structure_behavior_softmax"]
    content["autoencoders"] = {"behavior": {**cell, "epochs": [1, 120], "steps": 1000}}
    for section in ("alignments", "baselines", "generations", "teachers", "recoveries", "predictors"):
        content[section] = {}


def place(state):
    """How far a state file is, or an empty dict if there is none."""
    try:
        return load_tensors(state)[1]
    except InputError:
        return {}


def run_until(project, reached):
    """A run that has come to where `reached` is true."""
    process = project.start(*ARGUMENTS)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if reached():
            return process
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=30)
    pytest.fail(f"the run ended, or two minutes did, before it was where it is to be killed:\n{output}")


def kill_everything(process):
    """kill -9 of Snakemake and all its jobs; the next run has to be told that nobody holds the folder."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def kill_the_training(process, rule):
    """kill -9 of the one Python process that trains; Snakemake sees a failed job."""
    running = psutil.Process(process.pid).children(recursive=True)
    (job,) = [child for child in running if child.name().startswith("python") and rule in child.cmdline()[-1]]
    job.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"Error in rule {rule}" in output


def kill_again_and_again(project):
    """Three kills while the zoo trains, two while the autoencoder does, then the end; what the resumed jobs logged."""
    zoo, autoencoder = (project.results / state for state in (ZOO_STATE, AUTOENCODER_STATE))
    log = project.results / "logs/train_zoo/tiny/0.log"
    kill_everything(run_until(project, lambda: place(zoo).get("epoch", 0) >= 5))
    project.snakemake("--unlock")
    kill_everything(run_until(project, lambda: place(zoo).get("start", 0) >= 8))
    first_log = log.read_text()
    project.snakemake("--unlock")
    kill_the_training(run_until(project, lambda: place(zoo).get("start", 0) >= 16), "train_zoo")
    kill_everything(run_until(project, lambda: place(autoencoder).get("step", 0) > 0))
    zoo_log = log.read_text()
    project.snakemake("--unlock")
    before = place(autoencoder)["step"]
    kill_the_training(run_until(project, lambda: place(autoencoder).get("step", 0) > before + 1), "train_autoencoder")
    project.snakemake(*ARGUMENTS)
    return first_log, zoo_log, (project.results / "logs/train_autoencoder/behavior/seed-0.log").read_text()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Two runs of the same settings: one left alone, one killed again and again; and the killed one's resumed logs."""
    projects = [copy_sources(tmp_path_factory.mktemp("faults") / name) for name in ("calm", "killed")]
    for project in projects:
        project.edit(train_longer)
    calm, project = projects
    calm_run = calm.start(*ARGUMENTS)
    try:
        logs = kill_again_and_again(project)
        output, _ = calm_run.communicate(timeout=200)
    finally:
        kill_everything(calm_run)
    assert calm_run.returncode == 0, output
    return calm, project, logs


@pytest.mark.parametrize("name", KEPT)
def test_a_killed_run_ends_with_the_bits_of_one_left_alone(name, killed):
    calm, project, _ = killed
    assert (project.results / name).read_bytes() == (calm.results / name).read_bytes()


def test_a_killed_training_goes_on_where_it_was(killed):
    _, _, (first_log, zoo_log, autoencoder_log) = killed
    assert re.match(r"model epochs [1-9]\d\d?/3840: resumed", first_log)  # in the first of four stacks
    assert re.match(r"model epochs [1-9]\d{3}/3840: resumed", zoo_log)
    assert re.search(r"^step [1-9]\d*/1000: resumed", autoencoder_log, re.MULTILINE)


def test_nothing_of_a_killed_run_is_left_over(killed):
    calm, project, _ = killed
    files = [sorted(str(path.relative_to(p.results)) for path in p.results.rglob("*")) for p in (calm, project)]
    assert files[0] == files[1]
    assert [name for name in files[1] if name.endswith((".state", ".partial"))] == []


def test_a_finished_run_that_was_killed_before_has_nothing_to_do(killed):
    _, project, _ = killed
    assert "Nothing to be done" in project.snakemake(*ARGUMENTS)


# Damaged files


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def flip(path, place=-1):
    """Turn one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def flip_accuracy(path):
    """Turn one bit among a column's values, not in the table's description of itself."""
    group = pq.read_metadata(path).row_group(0)
    (chunk,) = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "test_accuracy"]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    flip(path, start + chunk.total_compressed_size - 1)


SEED = "autoencoder/contrast_structure/seed-0"
DAMAGE = {  # a file, what happens to it, the output of the rule that reads it
    "images, one bit": ("images/digits.safetensors", flip, "zoo/tiny/shards/0.parquet"),
    "images, cut": ("images/digits.safetensors", cut, "zoo/tiny/shards/0.parquet"),
    "a shard's table, one bit": (
        "zoo/tiny/shards/1.parquet",
        flip_accuracy,
        "zoo/tiny/models.parquet",
    ),
    "a shard's manifest, one bit": ("zoo/tiny/shards/1/manifest.safetensors", flip, "zoo/tiny/models.parquet"),
    "a zoo's index, one bit": ("zoo/tiny/weights.safetensors", flip, f"{SEED}/model.safetensors"),
    "weights, one bit": ("zoo/tiny/shards/1/0000000.safetensors", flip, f"{SEED}/metrics.parquet"),
    "weights, cut": ("zoo/tiny/shards/1/0000000.safetensors", cut, f"{SEED}/model.safetensors"),
    "models, one bit": ("zoo/tiny/models.parquet", flip_accuracy, f"{SEED}/model.safetensors"),
    "models, cut": ("zoo/tiny/models.parquet", cut, f"{SEED}/model.safetensors"),
    "an autoencoder, one bit": (f"{SEED}/model.safetensors", flip, f"{SEED}/metrics.parquet"),
    "metrics, cut": (f"{SEED}/metrics.parquet", cut, "metrics.parquet"),
}


@pytest.mark.parametrize(("name", "damage", "output"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_stops_its_reader_with_one_sentence(name, damage, output, finished):
    path, made = finished.results / name, finished.results / output
    times = path.stat()
    damage(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # or Snakemake would see another file
    made.unlink()
    said = finished.snakemake("--cores", "1", f"results/smoke/{output}", fails=True)
    assert said.splitlines()[-1].startswith(f"error: results/smoke/{name}: ")
    assert "Traceback" not in said
    assert not made.exists()


# Valid files in wrong places

COPIES = {  # kind: the run of Snakemake that it is tried in, a file's place, what is put there, the output whose job reads it
    "a shard": (0, "zoo/tiny/shards/0", "zoo/tiny/shards/1", "zoo/tiny/metrics.parquet"),
    "a part of a shard": (
        1,
        "zoo/tiny/shards/0/0000000.safetensors",
        "zoo/tiny/shards/1/0000000.safetensors",
        "baseline/noise/metrics.parquet",
    ),
    "an autoencoder": (1, f"{SEED}/model.safetensors", f"{SEED[:-1]}1/model.safetensors", f"{SEED}/metrics.parquet"),
    "teachers": (
        1,
        "teacher/softplus/teachers.safetensors",
        "teacher/member/teachers.safetensors",
        "recovery/softplus/seed-0/metrics.parquet",
    ),
    "queries": (
        1,
        "recovery/discrete/seed-1/queries.safetensors",
        "recovery/discrete/seed-0/queries.safetensors",
        "recovery/discrete/seed-1/metrics.parquet",
    ),
    "students": (
        1,
        "recovery/discrete/seed-0/students.safetensors",
        "recovery/discrete/seed-1/students.safetensors",
        "recovery_baseline/discrete_single/metrics.parquet",
    ),
    "networks": (
        1,
        "recovery/member/seed-0/networks.safetensors",
        "recovery/softplus/seed-0/networks.safetensors",
        "recovery/member/seed-0/metrics.parquet",
    ),
    "an index": (
        1,
        "zoo/cnn/weights.safetensors",
        "zoo/residual/weights.safetensors",
        "predictor/alone_cnn/seed-1/metrics.parquet",
    ),
    "an order": (
        1,
        "zoo/residual/orders/none.safetensors",
        "zoo/residual/orders/serpentine.safetensors",
        "predictor/alone/seed-0/metrics.parquet",
    ),
    "predictors": (
        1,
        "predictor/joint/predictors.safetensors",
        "predictor/rounds/predictors.safetensors",
        "predictor/joint/seed-1/metrics.parquet",
    ),
    "a folder of artifacts": (
        2,
        "predictor/joint/seed-0/artifacts",
        "predictor/joint/seed-1/artifacts",
        "predictor_control/joint_noise/seed-0/metrics.parquet",
    ),
    "one artifact": (
        2,
        "predictor/rounds/seed-0/artifacts/original-0.safetensors",
        "predictor/rounds/seed-0/artifacts/original-1.safetensors",
        "predictor_control/rounds_low_pass/seed-0/metrics.parquet",
    ),
    "a table of models": (2, "zoo/tiny/models.parquet", "zoo/tiny/shards/0.parquet", "baseline/pca/metrics.parquet"),
    "images": (0, "images/digits.safetensors", "zoo/tiny/weights.safetensors", "zoo/cnn/shards/0.parquet"),
    "metrics": (3, f"{SEED}/metrics.parquet", f"{SEED[:-1]}1/metrics.parquet", "metrics.parquet"),
    "merges": (
        4,
        "recovery/discrete/seed-1/merges.parquet",
        "recovery/discrete/seed-0/merges.parquet",
        "recovery_merges.parquet",
    ),
}


def put(source, place):
    """A file or a folder in another's place, with the other's date, or Snakemake would see another file."""
    times = place.stat()
    if place.is_dir():
        shutil.rmtree(place)
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture(scope="module")
def exchanged(smoke, tmp_path_factory):
    """The smoke run with files in wrong places, after runs that met them: what was said, by place."""
    said = {}
    for run in sorted({copy[0] for copy in COPIES.values()}):
        project = smoke._replace(folder=tmp_path_factory.mktemp("exchanged") / "project")
        shutil.copytree(smoke.folder, project.folder)
        chosen = [copy[1:] for copy in COPIES.values() if copy[0] == run]
        for place, source, output in chosen:
            put(project.results / source, project.results / place)
            (project.results / output).unlink()
        told = project.snakemake("--cores", "2", *(f"results/smoke/{output}" for *_, output in chosen), fails=True)
        said |= {place: told for place, *_ in chosen}
    return said


@pytest.mark.parametrize(("place", "source"), [copy[1:3] for copy in COPIES.values()], ids=COPIES)
def test_a_valid_file_in_a_wrong_place_is_one_sentence_of_its_reader(place, source, exchanged):
    lines = [line.partition(" (log: ")[0] for line in exchanged[place].splitlines()]
    (error,) = {line for line in lines if line.startswith(f"error: results/smoke/{place}: ")}
    assert f"holds results/smoke/{source}" in error or re.search("is not the file that the (manifest|index) .* says", error)
    assert "Traceback" not in exchanged[place]


def test_every_exchange_is_of_files_that_differ(smoke):
    for _, place, source, _ in COPIES.values():
        files = [smoke.results / name for name in (place, source)]
        assert not all(file.is_file() for file in files) or files[0].read_bytes() != files[1].read_bytes()
