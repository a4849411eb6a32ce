"""A full run kept for everybody: its tables and figures, small enough to commit, and where they come from."""

import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

TABLES = [
    "cells.parquet",
    "metrics.parquet",
    "autoencoder_*.parquet",
    "recovery_*.parquet",
    "predictor_*.parquet",
    "claims.parquet",
]
KEPT = [*TABLES, "claims.md", "timings.md", "figures/*.png"]
PACKAGES = ["torch", "numpy", "scikit-learn", "pandas", "pyarrow", "snakemake"]


def keep_reference(run: str | Path, reference: str | Path) -> None:
    """Copy what KEPT names from a run's folder to `reference`, and write provenance.json beside it."""
    run, reference = Path(run), Path(reference)
    for pattern in KEPT:
        for path in sorted(run.glob(pattern)):
            target = reference / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (reference / "provenance.json").write_text(json.dumps(provenance(), indent=2) + "\n")


def provenance() -> dict[str, object]:
    """Commit, date, machine and versions of the run."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ":!results")),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _git(*arguments: str) -> str:
    """What git says, or nothing where there is no git or no repository."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
