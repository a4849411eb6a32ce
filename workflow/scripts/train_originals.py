"""Rule train_originals: the networks of one cell whose weights predictors will hold."""

from weightspace.images.tensors import read_images
from weightspace.predictor.measure import measure_originals, which_learned
from weightspace.predictor.metrics import METRICS
from weightspace.predictor.originals import train_originals, write_originals
from weightspace.predictor.settings import OriginalsConfig
from weightspace.progress import rule_log
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, choose_device, content_digest
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, output, params, name = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards.originals
    images = read_images(inputs.images).to(choose_device(snakemake.resources.device))
    key = settings_hash(params.originals, params.version, name, content_digest(inputs.images))
    state = TrainingState(f"{output.originals}.state", key)
    originals = train_originals(OriginalsConfig(**params.originals), images, (name,), state)
    rows = measure_originals(Source(params.scenario, "originals", name, 0), originals, images)
    print(which_learned(rows))
    write_metrics(output.metrics, rows, METRICS)
    write_originals(output.originals, originals)
    state.remove()
