"""Rule train_zoo: one shard of a zoo's models, trained as stacks."""

from weightspace.checkpoints import write_zoo
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable
from weightspace.table import write_table
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.train import make_task, models_table, shard_members, shard_weights, train_models

with rule_log(snakemake.log[0]):
    output, job, config = snakemake.output, job_of(snakemake), ZooConfig(**snakemake.params.zoo)
    task = make_task(config, read_images(snakemake.input.images, choose_device(snakemake.resources.device)))
    models = shard_members(config, int(snakemake.wildcards.shard))
    with resumable(job, output.weights) as state:
        trained = train_models(task, models, state)
        write_table(output.models, models_table(config, models, trained), job)
        write_zoo(output.weights, shard_weights(task, models, trained), job)
