"""Rule generate_networks: new networks from the code of an autoencoder for one seed, and their rivals."""

from weightspace.autoencoder.coding import coded_zoo
from weightspace.autoencoder.data import read_populations
from weightspace.autoencoder.store import read_autoencoder
from weightspace.generation.evaluate import generate, generation_rows, write_networks
from weightspace.generation.metrics import METRICS
from weightspace.generation.settings import GenerationSettings
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    job, device, config = job_of(snakemake), choose_device(snakemake.resources.device), GenerationSettings(**params.generation)
    source = Source(params.scenario, "generation", wildcards.generation, int(wildcards.seed))
    autoencoders, zoos = read_autoencoder(inputs.model, device), read_populations(inputs, params.images, device)
    zoo = coded_zoo(autoencoders, zoos, config.zoo, config.epoch, device)
    with resumable(job, output.metrics) as state:
        generated = generate(zoo, config, source, state)
        write_networks(output.networks, output.parts, output.models, generated, job)
        write_metrics(output.metrics, generation_rows(generated, source), METRICS, job)
