"""Rule train_autoencoder: one autoencoder over a zoo's checkpoints, for one seed."""

from weightspace.autoencoder.data import checkpoints_by_split
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.store import write_autoencoder
from weightspace.autoencoder.train import autoencoder_data, loss_metrics, train_autoencoder
from weightspace.checkpoints import read_zoo
from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable
from weightspace.table import Source, read_table, write_metrics

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    job, device = job_of(snakemake), choose_device(snakemake.resources.device)
    source = Source(params.scenario, "autoencoder", wildcards.autoencoder, int(wildcards.seed))
    config, zoo = AutoencoderSettings(**params.autoencoder), read_zoo(inputs.weights)
    train = checkpoints_by_split(config, zoo, read_table(inputs.models), device, ["train"])["train"]
    data = autoencoder_data(config, zoo.spec, train, next((read_images(path, device) for path in inputs.images), None))
    with resumable(job, output.model) as state:
        trained = train_autoencoder(data, source, state)
        write_metrics(output.metrics, loss_metrics(source, trained, config), METRICS, job)
        write_autoencoder(output.model, data, trained, source.seed, job)
