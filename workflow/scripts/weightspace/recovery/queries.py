"""Queries: inputs and a teacher's answers, all that an attack may read."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Float64
from torch import Generator, Tensor

from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.jobs import Job
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.recovery.black_box import onnx_answer, read_table_teacher
from weightspace.recovery.designs import Drawn, Place, draw_inputs, draw_shifted
from weightspace.recovery.settings import OnnxTeacher, QueriesConfig, TableTeacher, TeacherConfig
from weightspace.recovery.teachers import Answer, Teachers, answers
from weightspace.rng import generator_for
from weightspace.store import load_tensors, save_tensors

SPLITS = ("train", "val", "test", "shifted")
SUM_TOLERANCE = 1e-3  # of a row of probabilities


class Queries(NamedTuple):
    """Inputs and answers per split; `set` is 1 where all teachers were asked the same, else one per teacher.

    test: held-out inputs, of teachers trained on images these images whatever the design, else of the same design; shifted:
    off-distribution ones. Answers are those to the float32 inputs.
    """

    train_x: Float32[Tensor, "set train channel height width"]
    train_y: Float64[Tensor, "teacher train output"]
    val_x: Float32[Tensor, "set val channel height width"]
    val_y: Float64[Tensor, "teacher val output"]
    test_x: Float32[Tensor, "set test channel height width"]
    test_y: Float64[Tensor, "teacher test output"]
    shifted_x: Float32[Tensor, "shifted_set shifted channel height width"]
    shifted_y: Float64[Tensor, "teacher shifted output"]
    asked: int  # answers that the attack on one teacher took: train, val, and those that found these inputs
    spec: NetSpec | None = None  # the layers, where they are known to the attacker; None of a black box


class Pools(NamedTuple):
    """Image sets that inputs are made of; None where there are none."""

    design: ImageSet | None = None  # of designs that start from images
    own: ImageSet | None = None  # what the teachers were trained on


def of_teacher(
    sets: Float[Tensor, "set query channel height width"], teacher: int
) -> Float[Tensor, "query channel height width"]:
    """A teacher's own inputs, or those that all share."""
    return sets[min(teacher, len(sets) - 1)]


def write_queries(path: str | Path, queries: Queries, job: Job | None = None) -> None:
    """Write queries and answers of all splits."""
    tensors = {name: value for name, value in queries._asdict().items() if isinstance(value, Tensor)}
    save_tensors(path, tensors, {"asked": queries.asked, "spec": queries.spec and queries.spec.description}, job)


def read_queries(path: str | Path) -> Queries:
    """Read what `write_queries` wrote."""
    tensors, metadata = load_tensors(path)
    return Queries(**tensors, asked=metadata["asked"], spec=metadata["spec"] and build_spec(**metadata["spec"]))


def make_queries(
    config: QueriesConfig, outputs: str, teacher: TeacherConfig, teachers: Teachers, pools: Pools, identity: tuple
) -> Queries:
    """Ask teachers of any kind, for their logits or their probabilities, and round; `identity` seeds all draws.

    Of probabilities the logarithms are kept, up to a constant per row.
    """
    if isinstance(teacher, TableTeacher):
        queries = table_queries(*read_table_teacher(teacher), config.held_out, identity)
    else:
        asked, shape = _asked(teacher, teachers, outputs)
        queries = ask_teachers(config, asked, shape, pools, identity)
    if outputs == "probabilities":
        check_probabilities(queries)
    if config.output_bits is not None:
        queries = rounded(queries, config.output_bits)
    if outputs == "probabilities":
        queries = log_probabilities(queries)
    return queries._replace(spec=teachers.spec)


def _asked(teacher: TeacherConfig, teachers: Teachers, outputs: str) -> tuple[list[Answer], tuple[int, int, int]]:
    """What can be asked, and the shape of an input."""
    if isinstance(teacher, OnnxTeacher):
        answer, shape = onnx_answer(teacher)
        return [answer], shape
    asked = answers(teachers)
    if outputs == "probabilities":
        asked = [lambda x, answer=answer: answer(x).softmax(1) for answer in asked]
    return asked, teachers.spec.image_shape


def ask_teachers(
    config: QueriesConfig, asked: list[Answer], shape: tuple[int, int, int], pools: Pools, identity: tuple
) -> Queries:
    """Exact answers to inputs of the design, drawn apart for train, val, test; held-out splits have `held_out` inputs at most.

    Designs that start from images take those of the same split, normalized; so that designs can be compared, teachers of
    images are tested on their own. Raises InputError if images are none or of another shape than the teachers' inputs, or if
    an answer is not finite.
    """
    fields, count = {}, 0
    for split in SPLITS:
        drawn = _drawn(config, split, Place(shape, None, asked), pools, generator_for("queries", *identity, split))
        fields |= {f"{split}_x": drawn.x, f"{split}_y": _answered(asked, drawn, split)}
        count += (drawn.x.shape[1] + drawn.asked) if split in ("train", "val") else 0
    return Queries(**fields, asked=count)


def _drawn(config: QueriesConfig, split: str, place: Place, pools: Pools, rng: Generator) -> Drawn:
    """Inputs of one split."""
    if split == "shifted":
        return draw_shifted(config, place, config.held_out, rng, pools != Pools())
    images, named = pools.design, f"queries.images: {config.images!r}"
    if split == "test" and pools.own is not None:
        config, images, named = config.model_copy(update={"design": "data"}), pools.own, "the teachers' image set"
    if images is not None:
        place = place._replace(pool=_pool(images, split, place.shape, named))
    return draw_inputs(config, place, config.num if split == "train" else config.held_out, rng)


def _pool(images: ImageSet, split: str, shape: tuple[int, int, int], named: str) -> Float32[Tensor, "image channel height width"]:
    """Normalized images of a split."""
    x = getattr(images, f"{split}_x")
    if len(x) == 0:
        raise InputError(f"{named} has no {split} images")
    if tuple(x.shape[1:]) != tuple(shape):
        raise InputError(f"{named} has images of shape {tuple(x.shape[1:])}, the teachers take {shape}")
    return normalize(x, images)


def _answered(asked: list[Answer], drawn: Drawn, split: str) -> Float64[Tensor, "teacher query output"]:
    sets = drawn.x.double()
    y = torch.stack([answer(of_teacher(sets, teacher)) for teacher, answer in enumerate(asked)])
    if not y.isfinite().all():
        raise InputError(f"teacher {int((~y.isfinite().flatten(1).all(1)).nonzero()[0])} has {split} answers that are not finite")
    return y


def table_queries(
    x: Float64[Tensor, "query channel height width"], y: Float64[Tensor, "query output"], held_out: int, identity: tuple
) -> Queries:
    """A random split of a table's rows; val and test get `held_out` each, at most a sixth. There are no shifted ones.

    Inputs become float32.
    """
    held = min(held_out, len(x) // 6)
    order = torch.randperm(len(x), generator=generator_for("queries", *identity, "table"))
    fields = {}
    for split, rows in zip(SPLITS, order.split([len(x) - 2 * held, held, held, 0]), strict=False):
        fields |= {f"{split}_x": x[rows].float().unsqueeze(0), f"{split}_y": y[rows].unsqueeze(0)}
    return Queries(**fields, asked=len(x) - held)


def rounded(queries: Queries, bits: int) -> Queries:
    """train_y and val_y on 2^bits even levels over the range of each teacher's train answers; test and shifted stay exact."""
    low, high = queries.train_y.amin((1, 2), keepdim=True), queries.train_y.amax((1, 2), keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(torch.float64).tiny)

    def level(y: Float64[Tensor, "teacher query output"]) -> Float64[Tensor, "teacher query output"]:
        return low + step * ((y - low) / step).round().clamp(0, 2**bits - 1)

    return queries._replace(train_y=level(queries.train_y), val_y=level(queries.val_y))


def check_probabilities(queries: Queries) -> None:
    """Raises InputError if an answer is not above 0 or a row's sum is more than 1e-3 from 1."""
    for split in SPLITS:
        y = getattr(queries, f"{split}_y")
        if not (y > 0).all():
            raise InputError(f"outputs: probabilities: of the {split} answers one is {y.min():.3g}, which has no logarithm")
        if ((y.sum(2) - 1).abs() > SUM_TOLERANCE).any():
            worst = y.sum(2).flatten()[(y.sum(2) - 1).abs().argmax()]
            raise InputError(f"outputs: probabilities: a row of the {split} answers sums to {worst:.6g}, not 1")


def log_probabilities(queries: Queries) -> Queries:
    """Logarithms of the answers minus their mean over the outputs: logits, up to a constant per row."""
    logs = {f"{split}_y": getattr(queries, f"{split}_y").log() for split in SPLITS}
    return queries._replace(**{name: y - y.mean(2, keepdim=True) for name, y in logs.items()})
