"""Rule judge_claims: published claims beside our measurements."""

from pathlib import Path

from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.report.claims import judge_claims, read_claims
from weightspace.report.regenerate import write_claims
from weightspace.table import read

with rule_log(snakemake.log[0]):
    job_of(snakemake)  # its inputs are checked
    verdicts = judge_claims(read(snakemake.input.metrics), read_claims(snakemake.input.claims))
    write_claims(verdicts, Path(snakemake.output.claims).parent, snakemake.params.scenario)
    print(f"{len(verdicts.judged)} claims judged, left out: {', '.join(verdicts.left_out) or 'none'}")
