"""What lies between models of a zoo: lines of weights from one to another, and soups, before and after alignment, as rows."""

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.checkpoints import Zoo
from weightspace.ensemble import evaluate, with_own_statistics
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.align import align, cosine
from weightspace.nets.between import aligned_to_first, interpolate, soup
from weightspace.nets.canonical import canonical
from weightspace.nets.spec import NetSpec, by_spec
from weightspace.table import Source
from weightspace.zoo.members import groups_of
from weightspace.zoo.settings import AlignmentConfig

PERCENTS = torch.arange(0, 101, 10)  # of the way from the first model of a pair to the second
RECALIBRATION_IMAGES = 10_000  # train images whose statistics batch norms get, at most
AT_ONCE = 2**25  # weights of the networks that are made together: 128 MB, and a few times that


class Models(NamedTuple):
    """Models of a zoo at one epoch and of one spec: those that may be aligned."""

    spec: NetSpec
    inits: dict[int, str]  # init tensor of each, by its index in the zoo
    weights: Float[Tensor, "model weight"]  # in the order of `inits`

    def in_groups(self, groups: list[list[int]]) -> Float[Tensor, "group model weight"]:
        """Weights of groups, each of as many models."""
        places = {model: place for place, model in enumerate(self.inits)}
        return self.weights[torch.tensor([[places[model] for model in group] for group in groups])]


def models_to_align(config: AlignmentConfig, zoo: Zoo, table: pa.Table, device: torch.device) -> list[Models]:
    """The zoo's test models of each spec, but for those that diverged by the epoch, which the log names."""
    rows = table.to_pandas()
    rows = rows[(rows["epoch"] == config.epoch) & (rows["split"] == "test")]
    if rows["diverged"].any():
        print(f"left out diverged test models: {', '.join(map(str, rows.loc[rows['diverged'], 'model']))} of {len(rows)}")
    rows = rows[~rows["diverged"]]
    inits, found = list(zip(rows["model"].tolist(), rows["init_tensor"], strict=True)), []
    for spec, places in by_spec(zoo.spec_of(model) for model, _ in inits):
        own = dict(inits[place] for place in places)
        weights = zoo.read(own, [config.epoch])[:, 0].to(device)
        found.append(Models(spec, own, canonical(spec, weights) if config.canonical else weights))
    return found


def alignment_metrics(config: AlignmentConfig, models: list[Models], images: ImageSet, source: Source) -> list[dict]:
    """Rows of pairs and of soups, whose numbers are the subjects; all of a group are of one spec.

    Raises InputError if there is no pair.
    """
    kinds = [(bench_of(each.spec, images), each) for each in models]
    groups = {
        size: in_turn([groups_of(each.inits, size, config.kind) for each in models], config.num) for size in [2, *config.soups]
    }
    if not any(groups[2]):
        raise InputError(f"zoo {config.zoo!r} has no two usable test models for kind {config.kind} at epoch {config.epoch}")
    print(f"pairs, {config.kind}: {', '.join(f'{one} and {other}' for own in groups[2] for one, other in own)}")
    rows: list[dict] = []
    for name, values in _of_kinds(line_metrics, kinds, groups[2], len(PERCENTS)).items():
        for n, value in enumerate(values.tolist()):
            on_line = zip(PERCENTS.tolist(), value, strict=True) if isinstance(value, list) else [(None, value)]
            rows += [source.row(name, one, subject=n, at=percent) for percent, one in on_line]
    for size in config.soups:
        if not any(groups[size]):
            num = " and ".join(str(len(each.inits)) for each in models)
            print(f"no soup of {size}, kind {config.kind}: there are {num} usable test models")
            continue
        for name, values in _of_kinds(soup_metrics, kinds, groups[size], size).items():
            rows += [source.row(name, value, subject=n, at=size) for n, value in enumerate(values.tolist())]
    return rows


def in_turn(groups: list[list[list[int]]], num: int) -> list[list[list[int]]]:
    """The first groups of each kind, so many in all at most: of each kind the first, then of each the second, …"""
    kept = sorted((place, kind) for kind, own in enumerate(groups) for place in range(len(own)))[:num]
    return [[own[place] for place, each in kept if each == kind] for kind, own in enumerate(groups)]


class Bench(NamedTuple):
    """Networks of one spec, and the normalized images and labels that they are measured on."""

    spec: NetSpec
    train: Float[Tensor, "image channel height width"]  # for the statistics of batch norms
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def bench_of(spec: NetSpec, images: ImageSet) -> Bench:
    """The splits of an image set, normalized."""
    val, test = (normalize(images.val_x, images), images.val_y), (normalize(images.test_x, images), images.test_y)
    return Bench(spec, normalize(images.train_x[:RECALIBRATION_IMAGES], images), val, test)


def line_metrics(bench: Bench, ends: Float[Tensor, "pair two weight"]) -> dict[str, Float[Tensor, "pair ..."]]:
    """Loss and accuracy along the line of each pair, its barrier, and the cosine of its ends, naive and aligned.

    The barrier is how far the loss lies above the straight line between both ends' losses where that is most (Entezari et al.
    2022, "The role of permutation invariance in linear mode connectivity"): where, val images say; how far, test images.
    """
    ours, theirs = ends.unbind(1)
    shares, metrics = PERCENTS.to(ours) / 100, {}
    for how, end in {"naive": theirs, "aligned": align(bench.spec, theirs, ours).weights}.items():
        networks = with_own_statistics(bench.spec, interpolate(ours, end, shares).flatten(0, 1), bench.train)
        on_val, on_test = (
            [each.unflatten(0, (len(ends), -1)) for each in evaluate(bench.spec, networks, *split)]
            for split in (bench.val, bench.test)
        )
        highest = height(on_val[0], shares).argmax(1, keepdim=True)
        metrics[f"line_loss_{how}"], metrics[f"line_accuracy_{how}"] = on_test
        metrics[f"barrier_{how}"] = height(on_test[0], shares).gather(1, highest).squeeze(1)
        metrics[f"cosine_{how}"] = cosine(bench.spec, end, ours)
    return metrics


def soup_metrics(bench: Bench, members: Float[Tensor, "soup model weight"]) -> dict[str, Float[Tensor, " soup"]]:
    """Loss and accuracy of each soup, naive and aligned to its first model, and the mean of its models'."""
    num, size, _ = members.shape
    soups = {"naive": soup(members), "aligned": soup(aligned_to_first(bench.spec, members))}
    soups = {how: with_own_statistics(bench.spec, weights, bench.train) for how, weights in soups.items()}
    measured = {how: evaluate(bench.spec, weights, *bench.test) for how, weights in soups.items()}
    measured["models"] = [each.view(num, size).mean(1) for each in evaluate(bench.spec, members.flatten(0, 1), *bench.test)]
    names = ("loss", "accuracy")
    return {f"soup_{name}_{how}": values for how, both in measured.items() for name, values in zip(names, both, strict=True)}


def height(losses: Float[Tensor, "pair share"], shares: Float[Tensor, " share"]) -> Float[Tensor, "pair share"]:
    """Losses on a line of weights above the straight line between the losses of its ends."""
    return losses - torch.lerp(losses[:, :1], losses[:, -1:], shares.unsqueeze(0))


def _of_kinds(
    measure: Callable[[Bench, Tensor], dict[str, Tensor]],
    kinds: list[tuple[Bench, Models]],
    groups: list[list[list[int]]],
    each: int,
) -> dict[str, Tensor]:
    """What is measured of groups of models of each spec, one spec after the other."""
    found = [
        _in_parts(measure, bench, models.in_groups(own), each) for (bench, models), own in zip(kinds, groups, strict=True) if own
    ]
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def _in_parts(
    measure: Callable[[Bench, Tensor], dict[str, Tensor]], bench: Bench, groups: Float[Tensor, "group model weight"], each: int
) -> dict[str, Tensor]:
    """What is measured of groups, as many of them together as the number of networks that each makes allows."""
    parts = [measure(bench, part) for part in groups.split(max(1, AT_ONCE // (groups.shape[2] * each)))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
