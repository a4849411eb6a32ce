"""What the rows of predictors and controls measure, each against its own original; tables for their figures."""

from itertools import product

import pyarrow as pa

from weightspace.table import OF_IMAGES, POSITIVE, SHARE, SIGNED, SOURCE, Metric

NETWORKS = {"original": "the original", "predicted": "the rebuilt network"}

_EVERY_ROUND = [  # the last round's where `at` is empty; of progressive reconstruction, each round's too
    Metric("rmse_weights", "weight", POSITIVE, "neither", "root mean squared difference from the original, predicted weights"),
    Metric("rmse_previous", "weight", POSITIVE, "neither", "the same from what the round before had put out"),
    Metric("relative_error", "fraction", POSITIVE, "neither", "norm of the difference over the norm of the original"),
    Metric("accuracy_predicted", "fraction", SHARE, "higher", "test accuracy of the network that is rebuilt", **OF_IMAGES),
    Metric("accuracy_gain", "fraction", SIGNED, "higher", "test accuracy minus that of the own original", **OF_IMAGES),
    Metric("agreement", "fraction", SHARE, "higher", "share of test images with the original's answer", **OF_IMAGES),
    Metric("gained", "fraction", SHARE, "neither", "share of test images that it alone has right", **OF_IMAGES),
    Metric("lost", "fraction", SHARE, "neither", "share of test images that the original alone has right", **OF_IMAGES),
    Metric(
        "mcnemar_p", "probability", SHARE, "neither", "McNemar's exact test of the images gained and lost", tolerance=1.0,
        mean_tolerance=1.0,
    ),
    Metric("kl", "nats", POSITIVE, "lower", "KL(original || predicted network) on test images, mean"),
    *(
        Metric(f"{name}_{which}", "ratio", POSITIVE, "neither", f"{meaning}, mean over layers, of {whose}")
        for (name, meaning), (which, whose) in product(
            {
                "singular_largest_share": "largest singular value / their sum",
                "singular_largest_tenth_share": "largest tenth of the singular values / their sum",
                "stable_rank": "squared norm / largest squared singular value",
            }.items(),
            NETWORKS.items(),
        )
    ),
    *(
        Metric(f"{name}{ordered}_{which}", unit, range_, "neither", f"{meaning}{how}, mean over layers, of {whose}")
        for (name, unit, range_, meaning), (ordered, how), (which, whose) in product(
            [
                ("high_frequency_share", "fraction", SHARE, "energy of the grid of kernels above half the Nyquist frequency"),
                ("neighbor_cosine", "cosine", SIGNED, "cosine of neighboring kernels"),
            ],
            {"": "", "_ordered": " in the predictor's order"}.items(),
            NETWORKS.items(),
        )
    ),
]  # fmt: skip
_ONCE = [
    Metric("learned", "fraction", SHARE, "higher", "1 where the original is more accurate than a constant answer"),
    Metric("bytes", "bytes", POSITIVE, "lower", "of the file that the network is rebuilt from, all parts"),
    *(
        Metric(f"bytes_{part}", "bytes", POSITIVE, "lower", f"of one part of that file: {part}")
        for part in ("predictor", "scales", "order", "kept", "header")
    ),
    Metric("bytes_zstd", "bytes", POSITIVE, "lower", "of that file compressed, as plain compression is"),
    Metric("bytes_original", "bytes", POSITIVE, "neither", "of all parameters of the original in float32"),
    Metric("compression", "ratio", POSITIVE, "higher", "bytes of the original / bytes of the file"),
    Metric("num_predictor", "numbers", POSITIVE, "neither", "weights of the predictor"),
    Metric("flops_decode", "operations", POSITIVE, "lower", "to rebuild the network once"),
    Metric("flops_inference", "operations", POSITIVE, "lower", "to classify one image with it"),
    Metric("relative_error_layer", "fraction", POSITIVE, "neither", "the same of one predicted layer, counted from 0", "layer"),
    *(
        Metric(f"train_accuracy_{which}", "fraction", SHARE, "neither", f"accuracy on train images, of {whose}", **OF_IMAGES)
        for which, whose in NETWORKS.items()
    ),
    *(
        Metric(name, "fraction", range_, "higher", meaning, **OF_IMAGES)
        for name, range_, meaning in [
            ("accuracy_original", SHARE, "test accuracy of the own original"),
            ("accuracy_recalibrated", SHARE, "test accuracy with batch-norm statistics of train images"),
            ("accuracy_original_recalibrated", SHARE, "the same of the own original"),
            ("accuracy_gain_recalibrated", SIGNED, "accuracy_recalibrated minus the accuracy of the own original as it is"),
            ("agreement_recalibrated", SHARE, "with the original as it is, batch norms recalibrated"),
        ]
    ),
]
METRICS = [*_ONCE, *(metric._replace(at="round") for metric in _EVERY_ROUND)]

_FLOATS = pa.list_(pa.field("element", pa.float32()))  # "element" is the name that Parquet gives back
KERNELS_SCHEMA = pa.schema(  # kernels of the first original and what a predictor made of them: one row per kernel that is shown
    [
        *SOURCE,
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
        *SOURCE,
        ("layer", pa.string()),
        ("original", _FLOATS),  # falling
        ("predicted", _FLOATS),
    ]
)
