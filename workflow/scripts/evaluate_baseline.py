"""Rule evaluate_baseline: the same measurements of networks rebuilt without an autoencoder."""

from weightspace.autoencoder.baselines import evaluate_baseline
from weightspace.autoencoder.data import read_populations
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.store import choose_device
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, params, job = snakemake.input, snakemake.params, job_of(snakemake)
    config, device = BaselineConfig(**params.baseline), choose_device(snakemake.resources.device)
    (zoo,) = read_populations(inputs, params.images, device)
    source = Source(params.scenario, "baseline", snakemake.wildcards.baseline, 0)
    write_metrics(snakemake.output.metrics, evaluate_baseline(config, zoo, source, device), METRICS, job)
