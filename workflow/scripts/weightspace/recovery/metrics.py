"""What the rows of recoveries and of their baselines measure; the tables that their figures need besides."""

from math import inf

import pyarrow as pa

from weightspace.recovery.verdict import VERDICTS
from weightspace.table import OF_IMAGES, POSITIVE, SHARE, SOURCE, Metric

UNFINISHED = {"tolerance": 9.0, "mean_tolerance": 9.0}  # in the smoke run: of students that are not at an end
OUTPUT = "teacher's output"
COVERAGES = range(1, 13)  # K of the thresholds 1e-K

METRICS = [  # sizes are hidden units of all layers
    Metric("expansion_factor", "ratio", POSITIVE, "neither", "student width / teacher width"),
    Metric("inputs", "entries", POSITIVE, "neither", "entries of an input of the teacher"),
    Metric("num_queries", "inputs", POSITIVE, "lower", "inputs that the teacher was asked to learn from"),
    Metric("size_true", "units", POSITIVE, "neither", "hidden units of the teacher"),
    Metric("size_student", "units", POSITIVE, "neither", "hidden units of a student"),
    Metric("size_clustered", "units", POSITIVE, "neither", "hidden units of the clusters, before the finish", **UNFINISHED),
    Metric("size_recovered", "units", POSITIVE, "neither", "hidden units of the recovered network"),
    Metric("size_right", "fraction", SHARE, "higher", "1 where size_recovered is size_true", successes=True),
    Metric("overhead", "fraction", (-1.0, inf), "neither", "(recovered size - true size) / true size; below 0 units are missing"),
    *(
        Metric(f"angle_{which}_degrees", "degrees", (0.0, 180.0), "lower", f"between matched incoming weights, {which}")
        for which in ("mean", "max")
    ),
    *(
        Metric(f"{which}_error", "fraction", POSITIVE, "lower", f"relative error of matched {what} weights, mean")
        for which, what in {"weights": "incoming", "outgoing": "outgoing"}.items()
    ),
    *(
        Metric(f"coverage_1e-{k}", "fraction", SHARE, "higher", f"share of units found to cosine distance 1e-{k}", successes=True)
        for k in COVERAGES
    ),
    Metric("rmse_train", OUTPUT, POSITIVE, "lower", "on asked inputs"),
    Metric("rmse_held_out", OUTPUT, POSITIVE, "lower", "on other inputs of the same design"),
    Metric("rmse_shifted", OUTPUT, POSITIVE, "lower", "on inputs of another design"),
    Metric("rmse_clustered", OUTPUT, POSITIVE, "lower", "on asked inputs, before the finish", **UNFINISHED),
    Metric("rmse_student_best", OUTPUT, POSITIVE, "lower", "of the best student, on held-out inputs"),
    Metric("rmse_student_median", OUTPUT, POSITIVE, "lower", "of the median student, on held-out inputs"),
    Metric("output_deviation", OUTPUT, POSITIVE, "neither", "standard deviation of the teacher's held-out outputs"),
    Metric("agreement", "fraction", SHARE, "higher", "share of held-out inputs with the teacher's answer", **OF_IMAGES),
    Metric("agreement_shifted", "fraction", SHARE, "higher", "share of shifted inputs with the teacher's answer", **OF_IMAGES),
    Metric("solved", "fraction", SHARE, "higher", "1 where coverage_1e-3 is 1 and overhead is 0", successes=True),
    Metric("reached", "fraction", SHARE, "higher", "share of students that are exact", successes=True, **UNFINISHED),
    Metric("held_out_error_relative", "fraction", POSITIVE, "lower", "rmse_held_out / output_deviation; 1 of constant answers"),
    Metric("best_student_better", "fraction", SHARE, "lower", "1 where the best student answers held-out inputs better"),
    Metric(
        "verdict", "code", (0.0, len(VERDICTS) - 1.0), "lower", "; ".join(f"{n}: {word}" for n, word in enumerate(VERDICTS)),
    ),
    Metric(
        "teacher_learned", "fraction", SHARE, "higher",
        "0 where all held-out answers are alike, or a classifier is no better on train images than the most frequent class",
    ),
    Metric("from_students", "fraction", SHARE, "neither", "1 where one thinned student gave it", successes=True, **UNFINISHED),
    Metric(
        "affine_residual", "fraction", POSITIVE, "lower", "norm of an affine rest that no flip explains or of the skip, relative",
        **UNFINISHED,
    ),
    Metric("skip_weights", "numbers", POSITIVE, "lower", "of the affine skip that a published recovery keeps beside the network"),
    Metric(
        "identifiability", "log10 of a ratio", (-inf, 0.0), "neither",
        "ease: smallest over largest singular value of the teacher's tangent features", **UNFINISHED,
    ),
    Metric("activation_right", "fraction", SHARE, "higher", "1 where the inferred activation is the teacher's", successes=True),
]  # fmt: skip

_INTEGERS = pa.list_(pa.field("element", pa.int64()))  # "element" is the name that Parquet gives back
_FLOATS = pa.list_(pa.field("element", pa.float32()))
MERGES_SCHEMA = pa.schema(  # how neurons of a recovery's students were clustered: one row per merge
    [
        *SOURCE,
        ("layer", pa.int64()),
        ("step", pa.int64()),  # order of the merges
        ("left", pa.int64()),  # cluster ids as in a linkage of scipy
        ("right", pa.int64()),
        ("height", pa.float64()),  # distance of the two
        ("members", pa.int64()),  # neurons in the merged cluster
        ("students", pa.int64()),  # distinct students in it; in the published procedure, neurons
        ("least", pa.int64()),  # students from which on a cluster counts
        ("count", pa.int64()),  # clusters that count after this merge
        ("cut", pa.float64()),  # height at which the tree was cut
        ("num_neurons", pa.int64()),
    ]
)
NEURONS_SCHEMA = pa.schema(  # incoming weights of units, the teacher's and the recovered ones: one row per unit of the teacher
    [
        *SOURCE,
        ("subject", pa.string()),  # the teacher's index
        ("layer", pa.int64()),
        ("neuron", pa.int64()),
        ("angle_degrees", pa.float64()),
        ("shape", _INTEGERS),  # channel, height, width of the weights
        ("teacher", _FLOATS),
        ("recovered", _FLOATS),  # null or empty where none was found
    ]
)
