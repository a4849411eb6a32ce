"""Rule join_zoo: the index of a zoo's parts, one table of models and its metrics; no weight is read."""

from weightspace.checkpoints import read_zoo, which_learned, write_index
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.table import Source, read_table, write_metrics, write_table
from weightspace.zoo.metrics import METRICS
from weightspace.zoo.train import join_shards, zoo_metrics

with rule_log(snakemake.log[0]):
    inputs, output, job = snakemake.input, snakemake.output, job_of(snakemake)
    zoo, models = join_shards([read_zoo(path) for path in inputs.parts], [read_table(path) for path in inputs.models])
    source = Source(snakemake.params.scenario, "zoo", snakemake.wildcards.zoo, 0)
    write_metrics(output.metrics, zoo_metrics(source, models), METRICS, job)
    write_table(output.models, models, job)
    write_index(output.weights, zoo, job)
    print(which_learned(models, zoo.bar))
