"""Rule train_zoo: one shard of a zoo's models, trained as stacks."""

from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable
from weightspace.table import write_table
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.train import make_task, models_table, shard_members, shard_writer, train_models

with rule_log(snakemake.log[0]):
    output, params, job = snakemake.output, snakemake.params, job_of(snakemake)
    config, images = ZooConfig(**params.zoo), read_images(snakemake.input.images, choose_device(snakemake.resources.device))
    zoo, shard = snakemake.wildcards.zoo, int(snakemake.wildcards.shard)
    task, models = make_task(config, images, params.stored), shard_members(config, shard)
    with resumable(job, output.parts) as state:
        writer = shard_writer(task, output.parts)
        trained = train_models(task, zoo, models, state, writer)
        write_table(output.models, models_table(config, models, trained), job)
        writer.finish(job)
