"""What the rows of generated networks and of their rivals measure."""

from weightspace.generation.controls_metrics import CONTROLS
from weightspace.table import OF_IMAGES, POSITIVE, SHARE, Metric

SAMPLES = [
    Metric("accuracy", "fraction", SHARE, "higher", "accuracy on test images, at epochs of fine-tuning", "epoch", **OF_IMAGES),
    Metric("val_accuracy", "fraction", SHARE, "higher", "the same on val images, which decide choices", "epoch", **OF_IMAGES),
    Metric("code_numbers", "numbers", POSITIVE, "neither", "numbers of the code that a network is decoded from; of samples"),
    Metric("parent", "index", POSITIVE, "neither", "model of the zoo that a sample is made from, where it is one"),
    Metric("accuracy_parent", "fraction", SHARE, "higher", "accuracy of that model on test images", **OF_IMAGES),
]
METRICS = [*SAMPLES, *CONTROLS]
