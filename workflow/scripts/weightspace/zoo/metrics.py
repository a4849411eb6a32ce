"""What rows of a zoo, and of what lies between its models, measure."""

from weightspace.table import ANY, OF_IMAGES, POSITIVE, SHARE, SIGNED, Metric

WAYS = {"naive": "as they are", "aligned": "the second aligned to the first"}
SOUPS = {
    "naive": "of the mean of models as they are",
    "aligned": "of the mean of models aligned to the first",
    "models": "of these models, mean over them",
}
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
    *(
        metric
        for way, said in WAYS.items()
        for metric in (
            Metric(f"cosine_{way}", "cosine", SIGNED, "higher", f"of the learned weights of a pair, {said}"),
            Metric(
                f"line_accuracy_{way}", "fraction", SHARE, "higher",
                f"share of right answers on test images so far on the way between a pair, {said}", "percent", **OF_IMAGES,
            ),
            Metric(f"line_loss_{way}", "nats", POSITIVE, "lower", "the same, mean cross-entropy", "percent", tolerance=0.01),
            Metric(
                f"barrier_{way}", "nats", ANY, "lower",
                "loss on test images above the line between both ends' losses, where that is most on val images", tolerance=0.01,
            ),
        )
    ),
    *(
        metric
        for way, said in SOUPS.items()
        for metric in (
            Metric(
                f"soup_accuracy_{way}", "fraction", SHARE, "higher",
                f"share of right answers on test images {said}", "models",
                **OF_IMAGES,
            ),
            Metric(f"soup_loss_{way}", "nats", POSITIVE, "lower", f"mean cross-entropy {said}", "models", tolerance=0.01),
        )
    ),
]  # fmt: skip
