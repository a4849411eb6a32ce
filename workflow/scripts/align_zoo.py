"""Rule align_zoo: what lies between models of a zoo, before and after their units are permuted alike."""

from weightspace.checkpoints import read_zoo
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device
from weightspace.table import Source, read_table, write_metrics
from weightspace.zoo.lines import alignment_metrics, models_to_align
from weightspace.zoo.metrics import METRICS
from weightspace.zoo.settings import AlignmentConfig

with rule_log(snakemake.log[0]):
    inputs, job, device = snakemake.input, job_of(snakemake), choose_device(snakemake.resources.device)
    config = AlignmentConfig(**snakemake.params.alignment)
    models = models_to_align(config, read_zoo(inputs.weights), read_table(inputs.models), device)
    source = Source(snakemake.params.scenario, "alignment", snakemake.wildcards.alignment, 0)
    rows = alignment_metrics(config, models, read_images(inputs.images, device), source)
    write_metrics(snakemake.output.metrics, rows, METRICS, job)
