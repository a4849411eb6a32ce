"""Rule evaluate_autoencoder: reconstruction, collapse controls and probes of one autoencoder, on test models."""

from weightspace.autoencoder.data import checkpoints_by_split
from weightspace.autoencoder.evaluate import evaluate_autoencoder
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.store import read_autoencoder
from weightspace.checkpoints import read_zoo
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device
from weightspace.table import Source, read_table, write_metrics

with rule_log(snakemake.log[0]):
    inputs, wildcards, job = snakemake.input, snakemake.wildcards, job_of(snakemake)
    device = choose_device(snakemake.resources.device)
    stored = read_autoencoder(inputs.model, device)
    images = next((read_images(path, device) for path in inputs.images), None)
    splits = checkpoints_by_split(stored.config, read_zoo(inputs.weights), read_table(inputs.models), device)
    source = Source(snakemake.params.scenario, "autoencoder", wildcards.autoencoder, int(wildcards.seed))
    write_metrics(snakemake.output.metrics, evaluate_autoencoder(stored, splits, images, source), METRICS, job)
