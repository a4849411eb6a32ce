"""Every test on one thread, with its own random numbers; copies of the project in which Snakemake runs."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("laws", deadline=None, derandomize=True, database=None)
settings.load_profile("laws")

ROOT = Path(__file__).parents[1]
SOURCES = ("Snakefile", "workflow", "config", "profiles", "environment.yml")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
ENVIRONMENT = os.environ | THREADS | {"CUDA_VISIBLE_DEVICES": ""}  # results bit for bit only on the CPU
JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)


def pytest_collection_modifyitems(items):
    """Mark the tests that start Snakemake: those that work on a copy of the project."""
    for item in items:
        if {"clone", "smoke", "finished", "killed", "checkout"} & set(item.fixturenames):
            item.add_marker("snakemake")


@pytest.fixture(autouse=True)
def own_random_numbers():
    """A test's ambient draws start at seed 0, whatever ran before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def float64():
    """Tensors made without a dtype are float64: for laws that float32 hides in rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Named(dict):
    """Params or wildcards as Snakemake hands them to a script."""

    __getattr__ = dict.__getitem__


class Project(NamedTuple):
    """A copy of the project, and the scenario that it runs."""

    folder: Path
    scenario: str = "smoke"

    def start(self, *arguments, config=()):
        """A running `snakemake`, leader of its own process group, output and errors in one pipe."""
        command = [sys.executable, "-m", "snakemake", "--config", f"scenario={self.scenario}", *config, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=ENVIRONMENT, start_new_session=True, **pipes)

    def snakemake(self, *arguments, config=(), fails=False):
        """What a finished `snakemake` said on the terminal."""
        process = self.start(*arguments, config=config)
        try:
            output, _ = process.communicate(timeout=900)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert (process.returncode != 0) == fails, output
        return output

    def planned(self, *arguments, config=()):
        """Jobs of a dry run, sorted: rule and wildcards."""
        return jobs_of(self.snakemake("--dry-run", *arguments, config=config))

    def edit(self, change):
        """Rewrite the scenario's file as `change` leaves its content."""
        path = self.folder / f"config/scenarios/{self.scenario}.yaml"
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    @property
    def results(self):
        return self.folder / "results" / self.scenario


def jobs_of(output):
    """Jobs that Snakemake's output lists, sorted, as `train_zoo zoo=tiny, shard=0`."""
    found = ((rule, re.search(r"^    wildcards: (.*)$", body, re.MULTILINE)) for rule, body in JOB.findall(output))
    return sorted(f"{rule} {wildcards[1]}" if wildcards else rule for rule, wildcards in found)


def copy_sources(folder):
    """The project without results: what a fresh clone has."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    return Project(folder)


@pytest.fixture
def clone(tmp_path):
    """The project as cloned, with no results."""
    return copy_sources(tmp_path / "clone")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, worker_id):
    """The project after one run of the smoke scenario; shared by all workers, so to be left as it is."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent  # a worker's own folder lies in that of all
    with (base / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (base / "smoke" / "finished").exists():
            return Project(base / "smoke" / "project")
        project = copy_sources(base / "smoke" / "project")
        project.snakemake("--cores", "2")
        (base / "smoke" / "finished").touch()
        return project


@pytest.fixture
def finished(smoke, tmp_path):
    """The same, to be changed."""
    return Project(shutil.copytree(smoke.folder, tmp_path / "finished"))
