"""Rule evaluate_baseline: the same measurements of networks rebuilt without an autoencoder."""

from weightspace.autoencoder.baselines import evaluate_baseline
from weightspace.autoencoder.data import checkpoints_by_split
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.settings import BaselineConfig
from weightspace.checkpoints import read_zoo
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device
from weightspace.table import Source, read_table, write_metrics

with rule_log(snakemake.log[0]):
    inputs, job, device = snakemake.input, job_of(snakemake), choose_device(snakemake.resources.device)
    config, zoo = BaselineConfig(**snakemake.params.baseline), read_zoo(inputs.weights)
    splits = checkpoints_by_split(config, zoo, read_table(inputs.models), device)
    images = next((read_images(path, device) for path in inputs.images), None)
    source = Source(snakemake.params.scenario, "baseline", snakemake.wildcards.baseline, 0)
    write_metrics(snakemake.output.metrics, evaluate_baseline(config, zoo.spec, splits, images, source), METRICS, job)
