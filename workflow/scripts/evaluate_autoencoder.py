"""Rule evaluate_autoencoder: reconstruction, collapse controls and probes of one autoencoder, on test models."""

from weightspace.autoencoder.data import checkpoints_by_split
from weightspace.autoencoder.evaluate import evaluate_autoencoder
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.store import unpack_autoencoder
from weightspace.images.tensors import read_images
from weightspace.progress import rule_log
from weightspace.store import choose_device, load_tensors
from weightspace.table import Source, read_table, write_metrics

with rule_log(snakemake.log[0]):
    inputs, wildcards, device = snakemake.input, snakemake.wildcards, choose_device(snakemake.resources.device)
    stored = unpack_autoencoder(*load_tensors(inputs.model, device))
    splits = checkpoints_by_split(stored.config, *load_tensors(inputs.weights), read_table(inputs.models), device)
    images = read_images(inputs.images, device)
    source = Source(snakemake.params.scenario, "autoencoder", wildcards.autoencoder, int(wildcards.seed))
    write_metrics(snakemake.output.metrics, evaluate_autoencoder(stored, splits, images, source), METRICS)
