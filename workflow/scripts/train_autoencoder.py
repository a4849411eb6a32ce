"""Rule train_autoencoder: one autoencoder over the checkpoints of its zoos, for one seed."""

from weightspace.autoencoder.data import read_populations
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.problem import data_of_zoos
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.store import write_autoencoder
from weightspace.autoencoder.train import loss_metrics, train_autoencoder
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    job, device = job_of(snakemake), choose_device(snakemake.resources.device)
    source = Source(params.scenario, "autoencoder", wildcards.autoencoder, int(wildcards.seed))
    config = AutoencoderSettings(**params.autoencoder)
    data = data_of_zoos(config, read_populations(inputs, params.images, device), device)
    with resumable(job, output.model) as state:
        trained = train_autoencoder(data, source, state)
        write_metrics(output.metrics, loss_metrics(source, trained, config), METRICS, job)
        write_autoencoder(output.model, data, trained, source.seed, job)
