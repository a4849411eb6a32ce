"""Rule measure_zoo: what a zoo's settings ask to know of each model at each kept epoch."""

from weightspace.checkpoints import read_zoo
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device
from weightspace.table import write_table
from weightspace.zoo.properties import properties_table

with rule_log(snakemake.log[0]):
    job, images = job_of(snakemake), read_images(snakemake.input.images, choose_device(snakemake.resources.device))
    table = properties_table(read_zoo(snakemake.input.weights), images, snakemake.params.measured)
    write_table(snakemake.output.properties, table, job)
