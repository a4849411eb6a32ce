"""Rule train_zoo: one shard of a zoo's models, trained as stacks."""

from weightspace.images.tensors import read_images
from weightspace.nets.forward import unflatten
from weightspace.progress import rule_log
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, choose_device, content_digest, save_tensors
from weightspace.table import write_table
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.train import make_task, models_table, shard_members, train_models

with rule_log(snakemake.log[0]):
    params, output = snakemake.params, snakemake.output
    config = ZooConfig(**params.zoo)
    images = read_images(snakemake.input.images, choose_device(snakemake.resources.device))
    task = make_task(config, images)
    models = shard_members(config, int(snakemake.wildcards.shard))
    key = settings_hash(params.zoo, params.version, snakemake.wildcards.shard, content_digest(snakemake.input.images))
    state = TrainingState(f"{output.weights}.state", key)
    trained = train_models(task, models, state)
    about = {"spec": task.spec.description, "epochs": config.epochs, "models": [m.model for m in models], "key": key}
    write_table(output.models, models_table(config, models, trained))
    save_tensors(output.weights, unflatten(task.spec, trained.weights), about)
    state.remove()
