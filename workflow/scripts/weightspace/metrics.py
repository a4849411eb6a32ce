"""The one row shape of every measurement: what it is of, its name, its value."""

import re
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from weightspace.errors import InputError

SCHEMA = pa.schema(
    [
        ("scenario", pa.string()),
        ("stage", pa.string()),
        ("cell", pa.string()),
        ("seed", pa.int64()),  # of the stage's job; 0 where a stage has no seeds
        ("split", pa.string()),  # train, val or test *models*
        ("subject", pa.string()),  # a model's index, or empty
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)
_INTEGERS = pa.list_(pa.field("element", pa.int64()))  # "element" is the name that Parquet gives back
_FLOATS = pa.list_(pa.field("element", pa.float32()))
_CELL_AND_SEED = [("scenario", pa.string()), ("cell", pa.string()), ("seed", pa.int64())]
MERGES_SCHEMA = pa.schema(  # how neurons of a recovery's students were clustered: one row per merge
    [
        *_CELL_AND_SEED,
        ("layer", pa.int64()),
        ("step", pa.int64()),  # order of the merges
        ("left", pa.int64()),  # cluster ids as in a linkage of scipy
        ("right", pa.int64()),
        ("height", pa.float64()),  # distance of the two
        ("members", pa.int64()),  # neurons in the merged cluster
        ("students", pa.int64()),  # distinct students in it
        ("count", pa.int64()),  # clusters that are large enough after this merge
        ("cut", pa.float64()),  # height at which the tree was cut
        ("num_neurons", pa.int64()),
    ]
)
NEURONS_SCHEMA = pa.schema(  # incoming weights of units, the teacher's and the recovered ones: one row per unit of the teacher
    [
        *_CELL_AND_SEED,
        ("subject", pa.string()),  # the teacher's index
        ("layer", pa.int64()),
        ("neuron", pa.int64()),
        ("angle_degrees", pa.float64()),
        ("shape", _INTEGERS),  # channel, height, width of the weights
        ("teacher", _FLOATS),
        ("recovered", _FLOATS),  # null or empty where none was found
    ]
)
KERNELS_SCHEMA = pa.schema(  # kernels of the first original and what a predictor made of them: one row per kernel that is shown
    [
        *_CELL_AND_SEED,
        ("layer", pa.string()),  # name of the parameter
        ("filter", pa.int64()),
        ("channel", pa.int64()),
        ("side", pa.int64()),  # the kernel has side x side numbers
        ("original", _FLOATS),
        ("predicted", _FLOATS),
    ]
)
SPECTRA_SCHEMA = pa.schema(  # singular values of each predicted layer of the first original: one row per layer
    [
        *_CELL_AND_SEED,
        ("layer", pa.string()),
        ("original", _FLOATS),  # falling
        ("predicted", _FLOATS),
    ]
)


class Metric(NamedTuple):
    """What a metric's number means."""

    pattern: str  # of its name
    unit: str
    better: str  # higher, lower, or neither
    meaning: str


QUERIES = r"(_mixed|_noise)?"
ROUND = r"(_round_\d+)?"  # of progressive reconstruction, counted from 1; without it, the last
METRICS = [
    Metric(r"(train|val|test)_accuracy(_epoch_\d+)?", "fraction", "higher", "share of right answers on the split's images"),
    Metric(r"test_loss(_epoch_\d+)?", "nats", "lower", "mean cross-entropy on test images"),
    Metric(r"generalization_gap(_epoch_\d+)?", "fraction", "neither", "train accuracy minus test accuracy"),
    Metric(r"diverged", "fraction", "lower", "1 where a loss or weight is not finite"),
    Metric(
        r"loss_(total|contrast|structure|behavior)_step_\d+",
        "as the loss",
        "lower",
        "training loss, mean since the last row; the total as optimized",
    ),
    Metric(r"weights_squared_error", "squared weight norm", "lower", "squared distance of original and reconstruction"),
    Metric(r"weights_deviation", "squared weight norm", "neither", "squared distance of the original from the train mean"),
    Metric(r"weights_deviation_within_init", "squared weight norm", "neither", "the same from the train mean of the own init"),
    Metric(r"weights_r2(_within_init)?", "fraction", "higher", "derived: 1 - squared error / deviation"),
    Metric(r"weights_l2(_unmasked)?", "weight norm", "lower", "distance of original and reconstruction"),
    Metric(r"accuracy_(original|reconstruction)", "fraction", "higher", "test accuracy"),
    Metric(
        r"agreement_(own|other|same_init)" + QUERIES,
        "fraction",
        "higher",
        "share of answers equal to the own, to others', to others' of the same init",
    ),
    Metric(r"agreement_originals" + QUERIES, "fraction", "neither", "mean share of equal answers of two originals"),
    Metric(r"retrieval_(weights|outputs)" + QUERIES, "fraction", "higher", "1 where the nearest original is the own one"),
    Metric(r"retrieval_chance", "fraction", "neither", "1 / number of originals of the same init"),
    Metric(r"diversity_(original|reconstruction)", "weight norm", "neither", "mean distance in weights to the other models"),
    Metric(
        r"diversity_outputs_(original|reconstruction)",
        "fraction",
        "neither",
        "mean share of unequal answers to the others",
    ),
    Metric(r"probe_error_[a-z_]+", "squared target", "lower", "squared error of a probe, summed over the model's checkpoints"),
    Metric(
        r"probe_deviation_[a-z_]+", "squared target", "neither", "squared deviation from the target's test mean, summed alike"
    ),
    Metric(r"probe_r2_[a-z_]+", "fraction", "higher", "derived: 1 - error / deviation, over all test checkpoints"),
    # of recoveries and their baselines; sizes are hidden units of all layers
    Metric(r"expansion_factor", "ratio", "neither", "student width / teacher width"),
    Metric(r"inputs", "entries", "neither", "entries of an input of the teacher"),
    Metric(r"num_queries", "inputs", "lower", "inputs that the teacher was asked to learn from"),
    Metric(r"size_true", "units", "neither", "hidden units of the teacher"),
    Metric(r"size_student", "units", "neither", "hidden units of a student"),
    Metric(r"size_clustered", "units", "neither", "hidden units that the clusters give, before the finish"),
    Metric(r"size_recovered", "units", "neither", "hidden units of the recovered network"),
    Metric(r"size_right", "fraction", "higher", "1 where the recovered network has as many hidden units as the teacher"),
    Metric(r"overhead", "fraction", "neither", "(recovered size - true size) / true size; below 0 units are missing"),
    Metric(r"angle_(mean|max)_degrees", "degrees", "lower", "between matched incoming weights, over the teacher's units"),
    Metric(r"(weights|outgoing)_error", "fraction", "lower", "relative error of matched incoming or outgoing weights, mean"),
    Metric(
        r"coverage_1e-([1-9]|1[0-2])",
        "fraction",
        "higher",
        "share of the teacher's units whose matched unit is nearer than this cosine distance",
    ),
    Metric(r"rmse_(train|held_out|shifted)", "teacher's output", "lower", "on asked, other and shifted inputs"),
    Metric(r"rmse_clustered", "teacher's output", "lower", "on asked inputs, before the finish"),
    Metric(r"rmse_student_(best|median)", "teacher's output", "lower", "of the students, on held-out inputs"),
    Metric(r"output_deviation", "teacher's output", "neither", "standard deviation of the teacher's held-out outputs"),
    Metric(
        r"agreement(_shifted)?" + ROUND,
        "fraction",
        "higher",
        "share of held-out or shifted inputs, of predictors of test images, with the teacher's or original's answer",
    ),
    Metric(r"solved", "fraction", "higher", "1 where coverage_1e-3 is 1 and overhead is 0"),
    Metric(r"reached", "fraction", "higher", "share of students at tolerance"),
    Metric(r"from_students", "fraction", "neither", "1 where one thinned student gave the network, not the clusters"),
    Metric(
        r"affine_residual", "fraction", "lower", "norm of an affine rest that no flip of units explains, or of the skip, relative"
    ),
    Metric(r"skip_weights", "numbers", "lower", "of the affine skip that a published recovery keeps beside the network"),
    Metric(
        r"identifiability",
        "log10 of a ratio",
        "neither",
        "ease: smallest over largest singular value of the teacher's tangent features",
    ),
    Metric(r"activation_right", "fraction", "higher", "1 where the inferred activation is the teacher's"),
    # of predictors and their controls, each against its own original; layers are the predicted ones, counted from 0
    Metric(r"bytes", "bytes", "lower", "of the file that the network is rebuilt from, all parts"),
    Metric(r"bytes_(predictor|scales|order|kept|header)", "bytes", "lower", "of one part of that file"),
    Metric(r"bytes_zstd", "bytes", "lower", "of that file compressed, as plain compression is"),
    Metric(r"bytes_original", "bytes", "neither", "of all parameters of the original in float32"),
    Metric(r"compression", "ratio", "higher", "bytes of the original / bytes of the file"),
    Metric(r"num_predictor", "numbers", "neither", "weights of the predictor"),
    Metric(r"flops_(decode|inference)", "operations", "lower", "to rebuild the network once; to classify one image with it"),
    Metric(r"rmse_weights" + ROUND, "weight", "neither", "root mean squared difference from the original, predicted weights"),
    Metric(r"rmse_previous" + ROUND, "weight", "neither", "the same from what the round before had put out"),
    Metric(r"relative_error(_layer_\d+)?" + ROUND, "fraction", "neither", "norm of the difference over the norm of the original"),
    Metric(r"accuracy_predicted" + ROUND, "fraction", "higher", "test accuracy of the network that is rebuilt"),
    Metric(r"train_accuracy_(original|predicted)", "fraction", "neither", "accuracy on train images"),
    Metric(r"accuracy_gain" + ROUND, "fraction", "higher", "test accuracy minus that of the own original"),
    Metric(
        r"accuracy_(original_)?recalibrated", "fraction", "higher", "test accuracy with batch-norm statistics of train images"
    ),
    Metric(r"accuracy_gain_recalibrated", "fraction", "higher", "the same minus the accuracy of the own original as it is"),
    Metric(r"agreement_recalibrated", "fraction", "higher", "with the original as it is, batch norms recalibrated"),
    Metric(r"(gained|lost)" + ROUND, "fraction", "neither", "share of test images that the one alone has right, the other wrong"),
    Metric(r"mcnemar_p" + ROUND, "probability", "neither", "McNemar's exact test of the images gained and lost"),
    Metric(r"kl" + ROUND, "nats", "lower", "KL(original || predicted network) on test images, mean"),
    Metric(
        r"(singular_largest_share|singular_largest_tenth_share|stable_rank)_(original|predicted)" + ROUND,
        "ratio",
        "neither",
        "of a layer's singular values, mean over layers: largest / sum, largest tenth / sum, squared norm / largest squared",
    ),
    Metric(
        r"high_frequency_share(_ordered)?_(original|predicted)" + ROUND,
        "fraction",
        "neither",
        "energy of the grid of kernels above half the Nyquist frequency, as it is or in the predictor's order, mean over layers",
    ),
    Metric(
        r"neighbor_cosine(_ordered)?_(original|predicted)" + ROUND,
        "cosine",
        "neither",
        "of neighboring kernels, as they are or in the predictor's order, mean over layers",
    ),
]


class Ratio(NamedTuple):
    """A metric that is in no row: the mean of one over the mean of another, of the same models and seeds."""

    pattern: str  # of its name; its groups fill the two names
    numerator: str
    denominator: str
    one_minus: bool  # 1 minus the ratio, as an R2 is


RATIOS = [
    Ratio(r"weights_r2(_within_init|)", "weights_squared_error", r"weights_deviation\1", True),
    Ratio(r"probe_r2_(test_accuracy|generalization_gap|epoch)_([a-z_]+)", r"probe_error_\1_\2", r"probe_deviation_\1", True),
]
SUCCESSES = (  # whose values are 0 or 1, or shares of trials of one model that are not independent
    r"retrieval_(weights|outputs)(_mixed|_noise)?|solved|reached|size_right|activation_right|from_students|coverage_1e-\d+"
)


def ratio_named(name: str) -> Ratio | None:
    """The ratio that a metric is derived as, its two metrics filled in; None where it is measured."""
    for ratio in RATIOS:
        if match := re.fullmatch(ratio.pattern, name):
            return ratio._replace(numerator=match.expand(ratio.numerator), denominator=match.expand(ratio.denominator))
    return None


def counts_successes(name: str) -> bool:
    """Whether a metric's mean is a share of successes."""
    return bool(re.fullmatch(SUCCESSES, name))


def metric_named(name: str) -> Metric:
    """Entry of METRICS that `name` belongs to; raises InputError for a name that none matches."""
    for metric in METRICS:
        if re.fullmatch(metric.pattern, name):
            return metric
    raise InputError(f"metric {name!r} is not in weightspace.metrics.METRICS")


class Source(NamedTuple):
    """Who measured: the columns that all rows of a job share."""

    scenario: str
    stage: str
    cell: str
    seed: int

    def row(self, metric: str, value: float, *, split: str = "test", subject: object = "") -> dict:
        """One row; `subject` is a model's index or empty."""
        return {**self._asdict(), "split": split, "subject": str(subject), "metric": metric, "value": float(value)}


def write_metrics(path: str | Path, rows: list[dict]) -> None:
    """Write rows whole or not at all; raises InputError on a column too many, too few, or a metric that is unknown or derived."""
    for row in rows:
        if row.keys() != set(SCHEMA.names):
            raise InputError(f"{path}: a row has columns {sorted(row)}, the schema has {sorted(SCHEMA.names)}")
        metric_named(row["metric"])
        if ratio_named(row["metric"]):
            raise InputError(f"{path}: {row['metric']} is derived from other metrics, never a row")
    write_table(path, pa.Table.from_pylist(rows, schema=SCHEMA))


def read_metrics(path: str | Path) -> pa.Table:
    """Read a metrics table; raises InputError naming the file if its bytes or its columns are wrong."""
    table = read_table(path)
    if table.schema != SCHEMA:
        raise InputError(f"{path}: not a metrics table with columns {SCHEMA.names}")
    return table


def write_table(path: str | Path, table: pa.Table) -> None:
    """Write a Parquet file with a hash of its content, by a temporary file and a rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table.replace_schema_metadata({"sha256": _digest(table)}), partial, compression="zstd")
    partial.replace(path)


def read_table(path: str | Path, schema: pa.Schema | None = None) -> pa.Table:
    """Read what `write_table` wrote; raises InputError naming the file if it is cut, altered, not ours or of another schema."""
    try:
        table = pq.read_table(path, partitioning=None)
        written = (table.schema.metadata or {}).get(b"sha256", b"").decode()
        whole = written == _digest(table)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{path}: not a whole Parquet file ({' '.join(str(error).split())})") from error
    if not whole:
        raise InputError(f"{path}: its content is not what was written (sha256 differs)")
    table = table.replace_schema_metadata(None)
    if schema is not None and table.schema != schema:
        raise InputError(f"{path}: not a table with columns {schema.names}")
    return table


def _digest(table: pa.Table) -> str:
    """Hash of names, types and values; `repr` tells every float from every other."""
    fields = [(field.name, str(field.type)) for field in table.schema]
    return sha256(repr((fields, table.to_pydict())).encode()).hexdigest()
