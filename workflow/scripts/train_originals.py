"""Rule train_originals: the networks of one cell whose weights predictors will hold."""

from weightspace.config import OriginalsConfig, settings_hash
from weightspace.images.tensors import read_images
from weightspace.metrics import Source, write_metrics
from weightspace.predictor.measure import measure_originals
from weightspace.predictor.originals import pack_originals, train_originals
from weightspace.progress import rule_log
from weightspace.store import TrainingState, choose_device, content_digest, save_tensors

with rule_log(snakemake.log[0]):
    inputs, output, params, name = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards.originals
    images = read_images(inputs.images, choose_device(snakemake.resources.device))
    key = settings_hash(params.originals, params.version, name, content_digest(inputs.images))
    state = TrainingState(f"{output.originals}.state", key)
    originals = train_originals(OriginalsConfig(**params.originals), images, (name,), state)
    write_metrics(output.metrics, measure_originals(Source(params.scenario, "originals", name, 0), originals, images))
    save_tensors(output.originals, *pack_originals(originals))
    state.remove()
