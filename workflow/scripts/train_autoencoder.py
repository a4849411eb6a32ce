"""Rule train_autoencoder: one autoencoder over a zoo's checkpoints, for one seed."""

from weightspace.autoencoder.data import checkpoints_by_split
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.settings import AutoencoderConfig
from weightspace.autoencoder.store import pack_autoencoder
from weightspace.autoencoder.train import loss_metrics, make_problem, train_autoencoder
from weightspace.images.tensors import read_images
from weightspace.nets.spec import build_spec
from weightspace.progress import rule_log
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, choose_device, content_digest, load_tensors, save_tensors
from weightspace.table import Source, read_table, write_metrics

with rule_log(snakemake.log[0]):
    inputs, output, params, seed = snakemake.input, snakemake.output, snakemake.params, int(snakemake.wildcards.seed)
    config, device = AutoencoderConfig(**params.autoencoder, seeds=[seed]), choose_device(snakemake.resources.device)
    images, (parameters, zoo) = read_images(inputs.images, device), load_tensors(inputs.weights)
    train = checkpoints_by_split(config, parameters, zoo, read_table(inputs.models), device)["train"]
    problem = make_problem(config, build_spec(**zoo["spec"]), train, images)
    key = settings_hash(params.autoencoder, params.version, seed, content_digest(inputs.weights), content_digest(inputs.images))
    state = TrainingState(f"{output.model}.state", key)
    trained = train_autoencoder(problem, seed, state)
    source = Source(params.scenario, "autoencoder", snakemake.wildcards.autoencoder, seed)
    write_metrics(output.metrics, loss_metrics(source, trained), METRICS)
    save_tensors(output.model, *pack_autoencoder(problem, trained, seed))
    state.remove()
