"""What a zoo's rows measure."""

from weightspace.table import OF_IMAGES, POSITIVE, SHARE, SIGNED, Metric

METRICS = [
    *(
        Metric(
            f"{split}_accuracy", "fraction", SHARE, "higher", f"share of right answers on {split} images", "epoch", **OF_IMAGES
        )
        for split in ("train", "val", "test")
    ),
    Metric("test_loss", "nats", POSITIVE, "lower", "mean cross-entropy on test images", "epoch"),
    Metric("generalization_gap", "fraction", SIGNED, "neither", "train accuracy minus test accuracy", "epoch", **OF_IMAGES),
    Metric("diverged", "fraction", SHARE, "lower", "1 where a loss or weight is not finite"),
]
