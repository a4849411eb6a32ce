"""Generated networks and their rivals, made, fine-tuned as one stack, and measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from weightspace.checkpoints import ZooWriter, write_index
from weightspace.coded import CodedZoo
from weightspace.ensemble import evaluate, learning_bar
from weightspace.errors import InputError
from weightspace.generation.choose import Samples, sample_networks, with_anchors
from weightspace.generation.controls import control_metrics
from weightspace.generation.finetune import FineTuned, fine_tune
from weightspace.generation.problem import NetworkSet
from weightspace.generation.rivals import RIVALS
from weightspace.generation.settings import GenerationSettings
from weightspace.images.tensors import normalize
from weightspace.jobs import Job
from weightspace.nets.forward import unflatten
from weightspace.rng import generator_for
from weightspace.store import TrainingState
from weightspace.table import Source, write_table


class Generated(NamedTuple):
    """What a job has made."""

    zoo: CodedZoo  # with the anchors that were chosen
    samples: Samples
    tuned: FineTuned  # the samples
    sets: dict[str, NetworkSet]  # samples and rivals, by the names of their cells, the samples first
    config: GenerationSettings


def generate(zoo: CodedZoo, config: GenerationSettings, source: Source, state: TrainingState) -> Generated:
    """Draw samples, make every rival, fine-tune all of them; a killed fine-tuning goes on from `state`.

    Raises InputError naming the cell, and the rival, whose networks are not finite.
    """
    zoo, cell, seed = with_anchors(zoo, config.best_share), source.cell, source.seed
    samples, kinds = sample_networks(zoo, generator_for("samples", seed), config), {cell: "samples"}
    made = {cell: samples.weights}
    for name, rival in config.named_rivals(cell).items():
        made[f"{cell}_{name}"] = RIVALS[rival.kind](zoo, rival, generator_for("rival", name, seed))
        kinds[f"{cell}_{name}"] = rival.kind
    for name, weights in made.items():
        if not weights.isfinite().all():
            raise InputError(f"{source.stage} {cell!r}, seed {seed}: networks of {name!r} are not finite")
    tuned = _split(fine_tune(zoo.spec, torch.cat(list(made.values())), zoo.images, config.fine_tune, seed, state), made)
    sets = {
        name: NetworkSet(kinds[name], weights, each.weights[:, -1].to(weights), each.val_accuracy, each.test_accuracy)
        for (name, weights), each in zip(made.items(), tuned, strict=True)
    }
    sets[cell] = sets[cell]._replace(parents=samples.parents)
    return Generated(zoo, samples, tuned[0], sets, config)


def _split(tuned: FineTuned, made: Mapping[str, Tensor]) -> list[FineTuned]:
    """What became of each set of networks."""
    sizes = [len(weights) for weights in made.values()]
    return [FineTuned(*parts) for parts in zip(*(values.split(sizes) for values in tuned), strict=True)]


def generation_rows(generated: Generated, source: Source) -> list[dict]:
    """Rows of the samples and of every rival, one per network, metric and epoch; rivals are cells of their own.

    What controls say of a whole set of networks has no subject.
    """
    epochs, rows = generated.config.fine_tune.epochs, []
    controls = control_metrics(generated.zoo, generated.sets, generator_for("controls", source.seed))
    for name, each in generated.sets.items():
        own = source if each.kind == "samples" else source._replace(stage="generation_rival", cell=name)
        for metric, values in controls[name].items():
            subjects, listed = (range(len(values)) if values.ndim else [""]), values.double().reshape(-1).tolist()
            rows += [own.row(metric, value, subject=n) for n, value in zip(subjects, listed, strict=True)]
        for metric, values in (("accuracy", each.test_accuracy), ("val_accuracy", each.val_accuracy)):
            rows += [
                own.row(metric, value, subject=n, at=epoch)
                for n, row in enumerate(values.tolist())
                for epoch, value in zip(epochs, row, strict=True)
            ]
    about = sample_metrics(generated)
    return rows + [source.row(metric, value, subject=n) for metric, values in about.items() for n, value in enumerate(values)]


def sample_metrics(generated: Generated) -> dict[str, list[float]]:
    """What is known of each sample beside its accuracies: numbers of its code, and its parent where it has one."""
    zoo, (codes, _, _, parents) = generated.zoo, generated.samples
    metrics = {"code_numbers": [float(code.numel()) for code in codes]}
    if parents is not None:
        _, accuracy = evaluate(zoo.spec, zoo.train[parents], normalize(zoo.images.test_x, zoo.images), zoo.images.test_y)
        metrics |= {"parent": list(map(float, parent_models(generated))), "accuracy_parent": accuracy.tolist()}
    return metrics


def parent_models(generated: Generated) -> list[int]:
    """Index in the zoo of the model that each sample is made from; raises TypeError where it is not made from one."""
    return generated.zoo.train_properties["model"].to_numpy()[generated.samples.parents.tolist()].tolist()


def write_networks(index: str | Path, folder: str | Path, models: str | Path, generated: Generated, job: Job) -> None:
    """Write the samples at every epoch of fine-tuning as a zoo: an index, a folder of weights, and a table of its models."""
    writer = ZooWriter(folder, generated.zoo.spec, generated.config.fine_tune.epochs, learning_bar(generated.zoo.images.train_y))
    writer.write(range(len(generated.samples.weights)), unflatten(writer.zoo.spec, generated.tuned.weights))
    write_table(models, networks_table(generated), job)
    write_index(index, writer.finish(job), job)


def networks_table(generated: Generated) -> pa.Table:
    """One row per sample and epoch: its index, accuracies on val and test images, and its parent where it has one."""
    own = generated.sets[next(iter(generated.sets))]
    num, epochs = own.test_accuracy.shape
    columns = {
        "model": torch.arange(num).repeat_interleave(epochs).tolist(),
        "epoch": generated.config.fine_tune.epochs * num,
        "val_accuracy": own.val_accuracy.flatten().tolist(),
        "test_accuracy": own.test_accuracy.flatten().tolist(),
    }
    if own.parents is not None:
        columns["parent"] = [parent for parent in parent_models(generated) for _ in range(epochs)]
    return pa.table(columns)
