"""Rule judge_claims: published claims beside our measurements."""

from weightspace.progress import rule_log
from weightspace.report.claims import judge_claims, read_claims
from weightspace.report.regenerate import write_claims
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    verdicts = judge_claims(metrics, read_claims(snakemake.input.claims))
    write_claims(verdicts, *snakemake.output, scenario=snakemake.params.scenario)
    print(f"{len(verdicts.judged)} claims judged, left out: {', '.join(verdicts.left_out) or 'none'}")
