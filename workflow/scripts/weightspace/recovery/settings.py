"""Settings of recovery: teachers, what they are asked, students, and the baselines of a recovery."""

from itertools import pairwise
from math import pi
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from weightspace.chosen import ChosenNetworks
from weightspace.settings import ActivationName, Cell, CellName, Once, Seeds, Settings, Share

SECOND_ORDER_WEIGHTS = 2500  # of a network that second order trains in seconds a step
DEFAULT_STEPS = 300  # of second order
MANTISSA_BITS = 52  # of float64


BaselineKind = Literal["single", "pruned", "distilled"]


def discrete_units(fan_in: int) -> int:
    """Units of the discrete family that differ by more than sign: weights -1, 0, 1, not all 0, and five biases."""
    return 5 * (3 ** min(fan_in, 40) - 1) // 2


class SyntheticTeachers(Cell):
    """Made-up networks; outputs have mean 0 and variance 1 on inputs uniform in the cube of deviation 1."""

    kind: Literal["synthetic"] = Field(description="made up")
    family: Literal["discrete", "gaussian"] = Field(
        "discrete", description="discrete: weights -1, 0, 1, biases in thirds, outgoing +-1 (ours); gaussian: generic"
    )
    inputs: PositiveInt = Field(description="entries of an input")
    hidden: list[PositiveInt] = Field(min_length=1, description="units of each hidden layer")
    outputs: PositiveInt = Field(1, description="entries of an output")
    activation: ActivationName = Field("g", description="of every hidden layer")
    num: PositiveInt = Field(10, description="teachers, each from its own draw")

    @model_validator(mode="after")
    def _units_differ(self) -> "SyntheticTeachers":
        for fan_in, units in pairwise([self.inputs, *self.hidden]) if self.family == "discrete" else []:
            if units > (available := discrete_units(fan_in)):
                raise ValueError(f"hidden: there are {available} different discrete units of {fan_in} inputs, not {units}")
        return self


class ZooTeachers(ChosenNetworks):
    """Members of a zoo: classifiers of images."""

    kind: Literal["zoo"] = Field(description="taken from a zoo")


class TableTeacher(Cell):
    """A file of inputs and outputs and nothing else."""

    kind: Literal["table"] = Field(description="a black box, asked before")
    path: str = Field(description="Parquet (columns of numbers or lists: inputs, outputs) or safetensors (inputs, outputs)")
    input_shape: list[PositiveInt] | None = Field(None, description="channel, height, width; null: a plain vector")


class OnnxTeacher(Cell):
    """An ONNX file that is only ever called."""

    kind: Literal["onnx"] = Field(description="a black box that can be called")
    path: str = Field(description="of the model")
    input_shape: list[PositiveInt] | None = Field(None, description="channel, height, width; null: a plain vector")
    output: str | None = Field(None, description="name of the output to read; null: the last one")


TeacherConfig = Annotated[SyntheticTeachers | ZooTeachers | TableTeacher | OnnxTeacher, Field(discriminator="kind")]


class QueriesConfig(Settings):
    """What a teacher is asked, before anything is learned."""

    design: Literal["data", "uniform", "gaussian", "composition", "biased_noise", "boundary", "table"] = Field(
        description="data: train images; uniform: cube of deviation 1; composition, biased_noise: Beiser et al. 2025; "
        "boundary: between two classes, by bisection of images or of gaussian inputs; table: what the file holds"
    )
    num: PositiveInt = Field(10_000, ge=2, description="train queries; of design data, at most so many")
    scale: PositiveFloat = Field(1.0, description="deviation of inputs that do not start from images")
    images: CellName | None = Field(None, description="image set of the designs that start from images, which are normalized")
    held_out: PositiveInt = Field(
        2_000,
        ge=2,
        description="validation inputs of the same design, and as many for test: the teachers' own images, if any",
    )
    output_bits: PositiveInt | None = Field(
        None, le=MANTISSA_BITS, description="outputs that students see are rounded to so many bits; null: exact"
    )

    @model_validator(mode="after")
    def _design_has_images(self) -> "QueriesConfig":
        needs, takes = ("data", "composition", "biased_noise"), ("data", "composition", "biased_noise", "boundary")
        if self.design in needs and self.images is None or self.design not in takes and self.images is not None:
            raise ValueError("designs data, composition and biased_noise need images, boundary may have them, the others not")
        return self


class StudentsConfig(Settings):
    """N overparameterized networks that imitate one teacher; all students of a cell's teachers train as one stack."""

    num: PositiveInt = Field(20, ge=2, description="students per teacher")
    expansion_factors: Annotated[list[PositiveFloat], Once] = Field(
        [4.0],
        min_length=1,
        description="student width / teacher width; of several, the first at which students fit",
    )
    architectures: Annotated[list[list[str]], Once] | None = Field(
        None,
        min_length=1,
        description="students' layers where the teacher's are not known, in rising size; null: the teacher's, expanded",
    )
    activations: Annotated[list[ActivationName], Once] | None = Field(
        None, min_length=1, description="assumed; of several, the one that validates best in short runs; null: the teacher's"
    )
    init: Literal["glorot", "published"] = Field("glorot", description="published: N(0, 2 / (out x students)), as coded")
    batch_size: PositiveInt = Field(512, description="queries per step, the same for all students of a teacher")
    learning_rate: PositiveFloat = Field(0.01, description="of Adam, first")
    schedule: Literal["cosine", "plateau"] = Field(
        "cosine", description="plateau: as published, but each student by its own loss"
    )
    epochs: NonNegativeInt = Field(100, description="at most, over the train queries")
    patience: PositiveInt = Field(200, description="of plateau: epochs without a better loss until the rate falls by sqrt(10)")
    cooldown: NonNegativeInt = Field(100, description="of plateau: epochs after a fall that do not count")
    min_learning_rate: PositiveFloat = Field(1e-7, description="of plateau: the student stops there")
    precision: Literal["float32", "float64"] = Field("float32", description="of Adam")
    second_order_steps: NonNegativeInt | None = Field(
        None,
        description="of Levenberg-Marquardt after Adam, in float64; null: 300 for students of at most 2,500 weights, none for "
        "larger ones, which take minutes a step",
    )
    rows_per_weight: PositiveFloat = Field(3.0, description="of Levenberg-Marquardt: equations used per weight of a student")
    tolerance: PositiveFloat = Field(1e-24, description="squared error over variance at which a student is done")
    search_share: Share = Field(0.8, description="of the students that must reach search_tolerance in the search for a size")
    search_tolerance: PositiveFloat = Field(1e-6, description="squared error over variance that counts as zero in a search")
    search_steps_share: Share = Field(0.5, description="a search run's epochs and steps, as a share of the whole")

    @model_validator(mode="after")
    def _trains(self) -> "StudentsConfig":
        if self.epochs + (self.second_order_steps or 0) == 0:
            raise ValueError("epochs is 0 and second_order_steps is 0 or not set: students would not be trained")
        return self

    def second_order_steps_of(self, num_weights: int) -> int:
        """Steps for students of so many weights."""
        if self.second_order_steps is None:
            return DEFAULT_STEPS if num_weights <= SECOND_ORDER_WEIGHTS else 0
        return self.second_order_steps


class ClusterConfig(Settings):
    """From students to clusters of neurons."""

    procedure: Literal["default", "published"] = Field(
        "default",
        description="published: sign by first weight, sizes in members, units from the five best students, outgoing weights by "
        "sums, an affine skip for even-linear classes, no thinning nor minimizing",
    )
    min_cluster_share: float = Field(0.5, gt=0, le=1, description="size of a cluster over number of students (published gamma)")
    max_angle_rad: float = Field(pi / 3, gt=0, le=pi / 2, description="largest median angle within a cluster (published beta)")
    metric: Literal["data_span", "weights"] = Field(
        "data_span", description="of neurons: root mean squared difference on the queries, or Euclidean in weights, as published"
    )
    keep_ratio: PositiveFloat = Field(
        1e4, description="drop students whose squared error exceeds this multiple of the best one's; published: none"
    )
    mask: Literal["none", "boruta"] = Field(
        "none",
        description="boruta: compare first-layer neurons by their weights on pixels that labels depend on, as published; "
        "needs the teachers' labeled images, which is more than queries give",
    )


class RecoverySettings(Cell):
    """One attack on the teachers of a cell, for any seed."""

    teacher: CellName = Field(description="cell of the section teachers")
    outputs: Literal["logits", "probabilities"] = Field(
        "logits",
        description="what the teacher answers; probabilities: their logarithm, less its mean over the outputs, since only "
        "differences of logits can be identified",
    )
    queries: QueriesConfig = Field(description="what the teachers are asked")
    students: StudentsConfig = Field(StudentsConfig(), description="expand")
    cluster: ClusterConfig = Field(ClusterConfig(), description="cluster")
    retrain_steps: NonNegativeInt = Field(
        100, description="of second order for the layers above a recovered one, if the loss rose"
    )
    finish_steps: NonNegativeInt = Field(200, description="of second order or of L-BFGS, for the recovered network")
    minimize: bool = Field(
        True, description="remove units greedily, retraining each time, and keep the smallest network that answers as well"
    )
    thinned_students: NonNegativeInt = Field(
        0,
        description="if the network from the clusters is not exact, remove units from so many of the best students in turn, "
        "until one leads to an exact network; for small networks",
    )
    second_order_limit: PositiveInt = Field(
        SECOND_ORDER_WEIGHTS, description="weights above which L-BFGS takes the place of second order, but for students"
    )

    @model_validator(mode="after")
    def _reads(self) -> "RecoverySettings":
        own = self.thinned_students or self.cluster.keep_ratio != ClusterConfig.model_fields["keep_ratio"].default
        if self.cluster.procedure == "published" and own:
            raise ValueError("the published procedure has no thinned_students and no cluster.keep_ratio")
        return self


class RecoveryConfig(RecoverySettings):
    """One attack on the teachers of a cell, once per seed."""

    seeds: Seeds = Field(description="one attack each: queries, students, batches")
    baselines: Annotated[list[BaselineKind], Once] = Field(
        [],
        exclude=True,
        description="what it has to beat, from the same answers; single: best of the students trained at the teacher's own size; "
        "pruned: best student cut to that size by magnitude, fine-tuned; distilled: one network of that size with the compute of "
        "all students",
    )


class RecoveryBaselineConfig(Cell):
    """One of the baselines of a recovery."""

    recovery: CellName = Field(description="cell of the section recoveries")
    kind: BaselineKind = Field(description="as in its list of baselines")
