"""Where the workflow may lie and run: as a module, in another folder, from a path with blanks; one run at a time."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ENVIRONMENT, ROOT, copy_sources, jobs_of

IMAGES = "results/smoke/images/digits.safetensors"
SMOKE = yaml.safe_load((ROOT / "config/scenarios/smoke.yaml").read_text())
OWN = {"images": SMOKE["images"], "zoos": {"mine": SMOKE["zoos"]["tiny"] | {"num_shards": 1}}}


def snakemake(folder, *arguments, python=sys.executable):
    """Exit code and output of a `snakemake` that runs in a folder."""
    command = [str(python), "-m", "snakemake", *map(str, arguments)]
    environment = ENVIRONMENT | {"PYTHONDONTWRITEBYTECODE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 300}
    ran = subprocess.run(command, cwd=folder, env=environment, check=False, **pipes)
    return ran.returncode, ran.stdout


def planned(folder, *arguments):
    """Jobs of a dry run in a folder."""
    code, output = snakemake(folder, "--dry-run", *arguments)
    assert code == 0, output
    return jobs_of(output)


def files_of(folder):
    """Every file of a folder with its size and date."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The project as cloned; to be left as it is."""
    return copy_sources(tmp_path_factory.mktemp("my place") / "my checkout").folder


@pytest.fixture(scope="module")
def jobs(checkout, tmp_path_factory):
    """What the smoke scenario plans where it was cloned."""
    return copy_sources(tmp_path_factory.mktemp("plain") / "clone").planned()


def test_deployed_as_a_module_it_plans_the_same_jobs(checkout, jobs, tmp_path):
    (tmp_path / "Snakefile").write_text(f'''
module weightspace:
    snakefile: "{checkout}/workflow/Snakefile"
    config: {{"scenario": "smoke"}}

use rule * from weightspace
''')
    assert planned(tmp_path) == jobs


def test_a_modules_rules_may_have_a_prefix(checkout, jobs, tmp_path):
    (tmp_path / "Snakefile").write_text(f'''
module weightspace:
    snakefile: "{checkout}/workflow/Snakefile"
    config: {{"scenario": "smoke"}}

use rule * from weightspace as ws_*
''')
    assert planned(tmp_path) == sorted(f"ws_{job}" for job in jobs)


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_in_another_folder_it_plans_the_same_jobs(snakefile, checkout, jobs, tmp_path):
    arguments = ("--snakefile", checkout / snakefile, "--directory", tmp_path, "--config", "scenario=smoke")
    assert planned(ROOT, *arguments) == jobs


def test_from_a_path_with_blanks_it_runs_in_another_folder_and_leaves_the_checkout_as_it_was(checkout, tmp_path):
    (tmp_path / "venv of mine").symlink_to(sys.prefix)
    (folder := tmp_path / "my results").mkdir()
    before = files_of(checkout)
    arguments = ("--snakefile", checkout / "Snakefile", "--cores", "1", IMAGES, "--config", "scenario=smoke")
    code, output = snakemake(folder, *arguments, python=tmp_path / "venv of mine/bin/python")
    assert code == 0, output
    assert (folder / IMAGES).is_file()
    assert files_of(checkout) == before


def test_the_folders_own_config_goes_before_the_checkouts(checkout, tmp_path):
    (scenarios := tmp_path / "config/scenarios").mkdir(parents=True)
    (tmp_path / "config/config.yaml").write_text("scenario: mine\n")
    (tmp_path / "config/claims.yaml").write_text("{}\n")
    (scenarios / "mine.yaml").write_text(yaml.safe_dump(OWN))
    own = [job for job in planned(tmp_path, "--snakefile", checkout / "Snakefile") if "zoo=" in job]
    assert own == ["join_zoo zoo=mine", "measure_zoo zoo=mine", "train_zoo zoo=mine, shard=0"]
    (scenarios / "smoke.yaml").write_text(yaml.safe_dump(OWN))
    output = snakemake(tmp_path, "--dry-run", "--snakefile", checkout / "Snakefile", "--config", "scenario=smoke")[1]
    assert "zoo=mine" in output
    assert "zoo=tiny" not in output
    assert "config/claims.yaml\n" in output
    assert str(checkout / "config/claims.yaml") not in output


def test_an_unknown_scenario_is_told_those_of_the_folder_and_of_the_checkout(checkout, tmp_path):
    (scenarios := tmp_path / "config/scenarios").mkdir(parents=True)
    (scenarios / "mine.yaml").write_text(yaml.safe_dump(OWN))
    code, output = snakemake(tmp_path, "-n", "--snakefile", checkout / "Snakefile", "--config", "scenario=none")
    assert code == 1
    (sentence,) = [line for line in output.splitlines() if line.startswith("error: ")]
    told, _, names = sentence.partition(", only ")
    assert told == "error: config/scenarios/none.yaml: there is no scenario 'none'"
    assert {"mine", "digits", "paper-sane"} <= set(names.split(", "))


def test_a_second_run_of_a_scenario_is_refused_and_one_of_another_is_not(checkout, tmp_path):
    (tmp_path / ".snakemake").mkdir()
    arguments = ("--snakefile", checkout / "Snakefile", "--cores", "1")
    with (tmp_path / ".snakemake/smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, output = snakemake(tmp_path, *arguments, IMAGES, "--config", "scenario=smoke")
        assert code == 1
        assert output.splitlines()[-1].startswith("error: another run of scenario smoke is under way in ")
        assert not (tmp_path / IMAGES).exists()
        assert planned(tmp_path, *arguments, IMAGES, "--config", "scenario=smoke") == ["fetch_images images=digits"]
        target = IMAGES.replace("smoke", "digits")
        code, output = snakemake(tmp_path, *arguments, target, "--config", "scenario=digits")
        assert code == 0, output
    code, output = snakemake(tmp_path, *arguments, IMAGES, "--config", "scenario=smoke")
    assert code == 0, output


def test_a_job_that_fits_no_partition_is_refused_before_any_is_submitted(checkout, tmp_path):
    (tmp_path / "partitions.yaml").write_text("partitions:\n  short: {max_runtime: 20, max_threads: 2, max_mem_mb: 11000}\n")
    cluster = ("--executor", "slurm", "--jobs", "2", "--slurm-partition-config", "partitions.yaml")
    code, output = snakemake(tmp_path, "--snakefile", checkout / "Snakefile", *cluster, IMAGES, "--config", "scenario=smoke")
    assert code == 1
    sentence = (
        "error: partitions.yaml: no partition fits a job of rule fetch_images, which asks for mem_mb 2000, runtime 30, threads 1"
    )
    assert output.splitlines()[-1] == sentence


def test_conda_installs_what_pip_does():
    requirements = (ROOT / "requirements.txt").read_text().splitlines()
    *_, last = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert last["pip"] == [line for line in requirements if line and not line.startswith("#")]


def test_no_shipped_partition_is_too_short_for_a_shipped_scenario():
    partitions = yaml.safe_load((ROOT / "profiles/slurm/partitions.yaml").read_text())["partitions"].values()
    scenarios = [yaml.safe_load(path.read_text()) for path in Path(ROOT, "config/scenarios").glob("*.yaml")]
    assert max(scenario.get("training_minutes", 60) for scenario in scenarios) <= min(p["max_runtime"] for p in partitions)
