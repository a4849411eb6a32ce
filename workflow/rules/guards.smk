"""What is checked when a run starts, and said when it ends."""

import atexit
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path

STARTED = time.time()


def hold_scenario():
    """The end where another run of the scenario is under way in this folder; else none can start while this one lasts."""
    lock = os.open(f".snakemake/{SCENARIO}.lock", os.O_RDWR | os.O_CREAT)  # stays open, and locked, until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"error: another run of scenario {SCENARIO} is under way in {Path.cwd()}; wait for its end, or end it")


def refuse_jobs_that_fit_no_partition():
    """The end where a job asks for more than each partition of `slurm-partition-config` has: it would wait for ever."""
    file = getattr(workflow.executor_settings, "partition_config", None)
    if file is None:
        return
    from snakemake_executor_plugin_slurm.partitions import read_partition_file

    partitions = read_partition_file(file)
    for job in workflow.dag.needrun_jobs():
        chosen = job.is_local or job.resources.get("slurm_partition")
        if not chosen and all(partition.score_job_fit(job) is None for partition in partitions):
            asked = {key: job.resources.get(key) for key in ("mem_mb", "runtime", "gpu")} | {"threads": job.threads}
            asked = ", ".join(f"{key} {value}" for key, value in asked.items() if value)
            sys.exit(f"error: {file}: no partition fits a job of rule {job.rule.name}, which asks for {asked}")


def say_errors_last():
    """Print, after all that Snakemake prints, the sentence in which the log of a failed job ends."""
    logs = [log for log in Path("results", SCENARIO, "logs").rglob("*.log") if log.stat().st_mtime >= STARTED]
    for log in sorted(logs, reverse=True):  # what is registered first is printed last
        _, error, sentence = f"\n{log.read_text(errors='replace')}".rpartition("\nerror: ")
        if error:
            atexit.register(print, f"error: {sentence.strip()} (log: {log})", file=sys.stderr)


def say_sizes_of_zoos():
    """Print what the zoos that are to be trained will take on disk."""
    training = {job.wildcards.zoo for job in workflow.dag.needrun_jobs() if job.rule.name == "train_zoo"}
    for sentence in told_sizes(settings, training, shutil.disk_usage(".").free):
        print(sentence, file=sys.stderr)


onstart:
    hold_scenario()
    say_sizes_of_zoos()
    refuse_jobs_that_fit_no_partition()


onerror:
    say_errors_last()
