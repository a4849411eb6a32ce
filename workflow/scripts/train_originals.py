"""Rule train_originals: the networks of one cell whose weights predictors will hold."""

from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.predictor.measure import measure_originals, which_learned
from weightspace.predictor.metrics import METRICS
from weightspace.predictor.originals import train_originals, write_originals
from weightspace.predictor.settings import OriginalsConfig
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    output, params, name = snakemake.output, snakemake.params, snakemake.wildcards.originals
    job = job_of(snakemake)
    images = read_images(snakemake.input.images, choose_device(snakemake.resources.device))
    with resumable(job, output.originals) as state:
        originals = train_originals(OriginalsConfig(**params.originals), images, (name,), state)
        rows = measure_originals(Source(params.scenario, "originals", name, 0), originals, images)
        print(which_learned(rows))
        write_metrics(output.metrics, rows, METRICS, job)
        write_originals(output.originals, originals, job)
