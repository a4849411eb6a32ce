"""Rule import_zoo: a zoo from checkpoints that exist, its table of models, its metrics, and what was not taken over."""

from weightspace.checkpoints import which_learned, write_index
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device
from weightspace.table import Source, write_metrics, write_table
from weightspace.zoo.importing import import_zoo
from weightspace.zoo.metrics import METRICS
from weightspace.zoo.sources import CheckpointsConfig
from weightspace.zoo.train import zoo_metrics

with rule_log(snakemake.log[0]):
    output, job, device = snakemake.output, job_of(snakemake), choose_device(snakemake.resources.device)
    images = next((read_images(path, device) for path in snakemake.input.images), None)
    zoo, models, dropped = import_zoo(CheckpointsConfig(**snakemake.params.zoo), images, output.parts, job)
    source = Source(snakemake.params.scenario, "zoo", snakemake.wildcards.zoo, 0)
    write_table(output.dropped, dropped, job)
    write_metrics(output.metrics, zoo_metrics(source, models), METRICS, job)
    write_table(output.models, models, job)
    write_index(output.weights, zoo, job)
    print(which_learned(models, zoo.bar))
