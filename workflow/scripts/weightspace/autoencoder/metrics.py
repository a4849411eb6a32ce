"""What the rows of autoencoders and of their baselines measure."""

from itertools import product
from math import inf

import pyarrow as pa

from weightspace.autoencoder.probed import CLASSES, FEATURES, TARGETS
from weightspace.autoencoder.settings import LOSSES
from weightspace.table import OF_IMAGES, POSITIVE, SHARE, SIGNED, SOURCE, Metric

OF_MODELS = {"tolerance": 1.0, "mean_tolerance": 0.15, "successes": True}  # of the smoke run's seven models one may change
R2, SQUARED = (-inf, 1.0), "squared weight norm"
OF_STRINGS = {"tolerance": 0.05, "mean_tolerance": 0.02}  # a number near the middle of two steps may take either
OF_PROBES = {"tolerance": 0.3, "mean_tolerance": 0.03}
QUERIES = {"": "test images", "_mixed": "blends of two test images", "_noise": "test images under noise"}
AT_BITS = (  # what is measured of networks whose codes were rounded
    "weights_squared_error", "weights_deviation", "agreement_own", "agreement_own_mixed", "accuracy_reconstruction",
    "retrieval_outputs", "bytes_code", "bytes_shared",
)  # fmt: skip

RECONSTRUCTION = [
    Metric("code_numbers", "numbers", POSITIVE, "lower", "numbers that a network is rebuilt from, where there is a code"),
    Metric("bytes_code", "bytes", POSITIVE, "lower", "string of bytes that a network is rebuilt from", **OF_STRINGS),
    Metric("bytes_shared", "bytes", POSITIVE, "lower", "what the receiver needs for all networks: the decoder, or a header"),
    Metric("weights_squared_error", SQUARED, POSITIVE, "lower", "squared distance of original and reconstruction"),
    Metric("weights_deviation", SQUARED, POSITIVE, "neither", "squared distance of the original from the train mean"),
    Metric("weights_deviation_within_init", SQUARED, POSITIVE, "neither", "the same from the train mean of the own init"),
    *(
        Metric(f"weights_r2{within}", "fraction", R2, "higher", f"1 - squared error / deviation{which}",
               ratio=("weights_squared_error", f"weights_deviation{within}"))
        for within, which in {"": "", "_within_init": " within the init"}.items()
    ),
    Metric("weights_l2", "weight norm", POSITIVE, "lower", "distance of original and reconstruction"),
    Metric("weights_l2_unmasked", "weight norm", POSITIVE, "lower", "the same with what the decoder puts into padding"),
    Metric("accuracy_original", "fraction", SHARE, "higher", "test accuracy of the original", **OF_IMAGES),
    Metric("accuracy_reconstruction", "fraction", SHARE, "higher", "test accuracy of the reconstruction", **OF_IMAGES),
    *(
        Metric(f"agreement_{which}{suffix}", "fraction", SHARE, "higher", f"share of {images} answered as {whom}", **OF_IMAGES)
        for (suffix, images), (which, whom) in product(
            QUERIES.items(),
            {
                "own": "the own original does",
                "other": "other originals do, mean",
                "same_init": "other originals of the same init do, mean",
                "originals": "other originals do, by the original itself",
            }.items(),
        )
    ),
    Metric("retrieval_weights", "fraction", SHARE, "higher", "1 where the nearest original, by weights, is the own", **OF_MODELS),
    *(
        Metric(
            f"retrieval_outputs{suffix}", "fraction", SHARE, "higher", f"the same by softmax outputs on {images}", **OF_MODELS
        )
        for suffix, images in QUERIES.items()
    ),
    Metric("retrieval_chance", "fraction", SHARE, "neither", "1 / number of originals of the same init"),
    *(
        Metric(f"diversity_{which}", "weight norm", POSITIVE, "neither", f"mean distance in weights to the other {which}s")
        for which in ("original", "reconstruction")
    ),
    *(
        Metric(
            f"diversity_outputs_{which}", "fraction", SHARE, "neither", f"mean share of answers unlike the other {which}s'",
            **OF_IMAGES,
        )
        for which in ("original", "reconstruction")
    ),
]  # fmt: skip
PROBES = [
    *(
        Metric(
            f"probe_error_{target}_{name}", f"squared {target}", POSITIVE, "lower",
            f"squared error of a ridge probe from {features}, summed over the model's checkpoints", **OF_PROBES,
        )
        for target, (name, features) in product(TARGETS, FEATURES.items())
    ),
    *(
        Metric(
            f"probe_deviation_{target}", f"squared {target}", POSITIVE, "neither",
            "squared deviation from the mean over test checkpoints, summed alike", **OF_PROBES,
        )
        for target in TARGETS
    ),
    *(
        Metric(
            f"probe_r2_{target}_{name}", "fraction", R2, "higher", f"R2 of a ridge probe of {target} from {features}",
            ratio=(f"probe_error_{target}_{name}", f"probe_deviation_{target}"),
        )
        for target, (name, features) in product(TARGETS, FEATURES.items())
    ),
    *(
        Metric(
            f"probe_tau_{target}_{name}", "correlation", SIGNED, "higher",
            f"Kendall's tau-b of {target} and a ridge probe from {features}: values whose mean it is", **OF_PROBES,
        )
        for target, (name, features) in product(TARGETS, FEATURES.items()) if target not in CLASSES
    ),
]  # fmt: skip
CURVES = [
    Metric(f"loss_{name}", "as the loss", (-inf, inf), "lower", f"training loss, {name}, mean since the last row", "step")
    for name in (*LOSSES, "total")
]
ENDS = [  # of training until the loss has flattened
    Metric("training_steps", "steps", POSITIVE, "neither", "optimizer steps that were done"),
    Metric("flattened", "fraction", SHARE, "higher", "1 where the loss of val networks had flattened before the last step"),
    Metric("loss_val", "as the loss", (-inf, inf), "lower", "loss of val networks, weighted as trained", "step"),
]
RECONSTRUCTION = [each._replace(at="bits") if each.name in AT_BITS else each for each in RECONSTRUCTION]
METRICS = [*RECONSTRUCTION, *PROBES, *CURVES, *ENDS]

EMBEDDINGS_SCHEMA = pa.schema(  # where test models lie by the mean of their codes: one row per checkpoint and encoder
    [
        *SOURCE,
        ("encoder", pa.string()),  # trained, or as before its first step
        ("subject", pa.string()),  # the model's index
        ("at", pa.int64()),  # epoch
        ("test_accuracy", pa.float64()),  # null where the zoo does not know it
        ("x", pa.float64()),  # first principal component over the checkpoints of the encoder
        ("y", pa.float64()),  # second
        ("x_share", pa.float64()),  # of the variance
        ("y_share", pa.float64()),
    ]
)
