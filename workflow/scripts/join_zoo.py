"""Rule join_zoo: the shards of a zoo as one stack, one table of models and its metrics."""

from weightspace.progress import rule_log
from weightspace.store import load_tensors, save_tensors
from weightspace.table import Source, read_table, write_metrics, write_table
from weightspace.zoo.metrics import METRICS
from weightspace.zoo.train import join_shards, zoo_metrics

with rule_log(snakemake.log[0]):
    shards = [load_tensors(path) for path in snakemake.input.weights]
    tensors, metadata, models = join_shards(shards, [read_table(path) for path in snakemake.input.models])
    source = Source(snakemake.params.scenario, "zoo", snakemake.wildcards.zoo, 0)
    write_metrics(snakemake.output.metrics, zoo_metrics(source, models), METRICS)
    write_table(snakemake.output.models, models)
    save_tensors(snakemake.output.weights, tensors, metadata)
