"""Rule keep_reference: tables and figures of a full run, to be committed."""

from pathlib import Path

from weightspace.progress import rule_log
from weightspace.report.reference import keep_reference

with rule_log(snakemake.log[0]):
    keep_reference(Path(snakemake.input.metrics).parent, snakemake.params.reference)
