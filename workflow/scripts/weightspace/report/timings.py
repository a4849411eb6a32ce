"""What a run cost: Snakemake's benchmark files as one table."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("rule", pa.string()),
        ("jobs", pa.int64()),
        ("seconds", pa.float64()),  # of all jobs, one after another
        ("longest_seconds", pa.float64()),
        ("longest_job", pa.string()),
        ("max_rss_mb", pa.float64()),
    ]
)
COLUMNS = ["rule", "job", "seconds", "max_rss_mb"]  # of one job


def tabulate_timings(folder: str | Path) -> pa.Table:
    """One row per rule from the files <folder>/<rule>/<job>.tsv that there are; a value that Snakemake left out is nan."""
    paths = sorted(Path(folder).glob("*/**/*.tsv"))
    jobs = [_read_job(path, path.relative_to(folder).parts[0]) for path in paths]
    rows = [_summarize(rule, group) for rule, group in pd.DataFrame(jobs, columns=COLUMNS).groupby("rule")]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: -row["seconds"]), schema=SCHEMA)


def _read_job(path: Path, rule: str) -> dict:
    """The last line of a benchmark file; it has more than one where a rule is benchmarked repeatedly."""
    last = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[-1]
    return {"rule": rule, "job": path.stem, "seconds": float(last["s"]), "max_rss_mb": float(last["max_rss"])}


def _summarize(rule: str, jobs: pd.DataFrame) -> dict:
    longest = jobs.loc[jobs["seconds"].idxmax()]
    return {
        "rule": rule,
        "jobs": len(jobs),
        "seconds": jobs["seconds"].sum(),
        "longest_seconds": longest["seconds"],
        "longest_job": longest["job"],
        "max_rss_mb": jobs["max_rss_mb"].max(),
    }
