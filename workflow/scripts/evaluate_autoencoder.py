"""Rule evaluate_autoencoder: reconstruction, collapse controls, probes, and embeddings of the test models of an autoencoder."""

from weightspace.autoencoder.data import read_populations
from weightspace.autoencoder.embeddings import embeddings_table
from weightspace.autoencoder.evaluate import evaluate_autoencoders
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.probed import ProbesConfig
from weightspace.autoencoder.store import read_autoencoder
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device
from weightspace.table import Source, write_metrics, write_table

with rule_log(snakemake.log[0]):
    inputs, params, wildcards, job = snakemake.input, snakemake.params, snakemake.wildcards, job_of(snakemake)
    device = choose_device(snakemake.resources.device)
    autoencoders, zoos = read_autoencoder(inputs.model, device), read_populations(inputs, params.images, device)
    source = Source(params.scenario, "autoencoder", wildcards.autoencoder, int(wildcards.seed))
    rows = evaluate_autoencoders(autoencoders, zoos, source, device, ProbesConfig(**params.probes))
    write_metrics(snakemake.output.metrics, rows, METRICS, job)
    write_table(snakemake.output.embeddings, embeddings_table(autoencoders, zoos, source, device), job)
