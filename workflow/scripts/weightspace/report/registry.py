"""What there is to draw and to read: every figure and every metric, as data; nothing here imports matplotlib."""

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import pyarrow as pa

from weightspace.errors import InputError
from weightspace.stages import STAGES
from weightspace.table import Metric


class SideTable(NamedTuple):
    """A table beside metrics.parquet and cells.parquet, of what each seed of a stage leaves."""

    stage: str
    file: str  # without .parquet, in the folder of a seed
    schema: str  # its name in the metrics of the stage's room


SIDE_TABLES = {
    "autoencoder_embeddings": SideTable("autoencoder", "embeddings", "EMBEDDINGS_SCHEMA"),
    "recovery_merges": SideTable("recovery", "merges", "MERGES_SCHEMA"),
    "recovery_neurons": SideTable("recovery", "neurons", "NEURONS_SCHEMA"),
    "predictor_kernels": SideTable("predictor", "kernels", "KERNELS_SCHEMA"),
    "predictor_spectra": SideTable("predictor", "spectra", "SPECTRA_SCHEMA"),
}


class Figure(NamedTuple):
    """One figure: what it needs, how it is made, what the report says of it."""

    name: str
    stage: str  # without rows of which there is nothing to draw
    function: str  # module within weightspace, and a function in it, from rows to a matplotlib figure
    table: str  # metrics, or one of SIDE_TABLES
    item: str  # its name in the report
    caption: str  # reStructuredText
    column: str = ""  # of the table of cells, without which there is nothing to draw


FIGURES = [
    Figure(
        "zoo_accuracy", "zoo", "zoo.figures.accuracy:plot_zoo_accuracy", "metrics", "accuracy over epochs",
        "How the models of each zoo learn: median accuracy on test and training images at the kept epochs, with bands "
        "over models on test images. The number of models, of diverged ones among them, the mean of the last epoch with "
        "its 95 % bootstrap interval and the highest accuracy are written in. The highest is a maximum over all models on "
        "the test images; it describes the zoo and selects nothing. Zoos that are measured at one epoch share a panel, "
        "a row each.",
    ),
    Figure(
        "zoo_alignment", "alignment", "zoo.figures.alignment:plot_zoo_alignment", "metrics", "lines and soups",
        "Are models of a zoo one network up to the order of their units? Accuracy on test images along the straight line of "
        "weights between two models, and of soups, whose weights are the mean of several models', before (naive) and after the "
        "units of all are permuted to match the first's (weight matching, Ainsworth et al. 2023), beside the mean of the models "
        "themselves. Models that started from one init tensor are told apart from models of different ones. No model is in two "
        "pairs, nor in two soups of a size. Intervals are over pairs, and over soups.",
    ),
    Figure(
        "reconstruction", "autoencoder", "autoencoder.figures.reconstruction:plot_reconstruction", "metrics",
        "accuracy of reconstructions",
        "Test accuracy of each test model of the zoo, before (x) and after (y) it is encoded and decoded, one panel per "
        "autoencoder and per baseline, one marker per seed, train models beside them in gray. Above the line the "
        "reconstruction is the better network, which a faithful copy would not be: see the figure *collapse controls*. "
        "Weights R² is against the mean of the training checkpoints; *within init* is against the mean of those that started "
        "from the same tensor, which a code that knows the init and nothing else leaves at about 0. It stands where a zoo "
        "shares inits.",
    ),
    Figure(
        "collapse", "autoencoder", "autoencoder.figures.collapse:plot_collapse", "metrics", "collapse controls",
        "Is a reconstruction its own original, a prototype of its init, or a prototype that resembles all originals? Good "
        "networks of one task agree on most images anyway, so agreement with the own original is shown beside agreement "
        "with other originals of the same init tensor, with all others, and of originals among themselves (dashed), on "
        "test images and on blends of two test images of different classes, where networks differ more. A reconstruction "
        "that agrees with its own original no more than with others of the same init says no more than the init. "
        "Retrieval asks whether the own original is the nearest of all, by weights and by outputs, beside chance for a "
        "code that knows the init alone (dotted). Diversity is what is left of the distances between models. Below the "
        "rule stand baselines, where the scenario has them: the same measurements of reconstructions that no autoencoder "
        "made. They are computed, not trained, and have no seeds.",
    ),
    Figure(
        "code_size", "autoencoder", "autoencoder.figures.code_size:plot_code_size", "metrics", "size of the code",
        "How many numbers does a network take to come back as itself? Agreement of each reconstruction with its own original on "
        "test images, and on blends of two of them, where networks differ more, and its accuracy, against the numbers of its "
        "code, for autoencoders that learn from weights alone, from weights and answers, and for linear codes. A code may be "
        "refined: moved by gradient steps for one network's weights and its answers to train images.",
    ),
    Figure(
        "rate", "autoencoder", "autoencoder.figures.rate:plot_rate", "metrics", "bytes of a network",
        "At how many bytes is a network still itself? Agreement with the own original, and test accuracy, against the bytes that "
        "a network is rebuilt from: codes rounded to few bits and entropy-coded, for autoencoders, linear codes and the weights "
        "themselves, beside networks made small one by one: fewer bits per weight, fewer weights, fewer singular values per "
        "layer. What the receiver needs for all networks, the decoder above all, is left out, or shared by many networks, or by "
        "those that were measured.",
    ),
    Figure(
        "deviations", "autoencoder", "autoencoder.figures.deviations:plot_deviations", "metrics", "deviations",
        "What does each deviation of the published code, or of a choice that its text leaves open, do by itself? A row per "
        "autoencoder that differs from another by one setting: what it measures minus what the other does, on the same test "
        "models from the same seeds. At 0 the setting makes no difference.",
        column="against",
    ),
    Figure(
        "probes", "autoencoder", "autoencoder.figures.probes:plot_probes", "metrics", "linear probes",
        "What can a line read off a network? R² of linear probes on test models, one panel per property, and Kendall's tau "
        "where it is measured: from an autoencoder's codes, and from what needs none, which are the same encoder untrained, "
        "statistics of the weights, principal components of as many numbers, all weights, or answers to fixed or learned "
        "inputs. Probes are fitted on training models of the zoo; their penalty is chosen on validation models. Baselines have "
        "no probes.",
    ),
    Figure(
        "embeddings", "autoencoder", "autoencoder.figures.embeddings:plot_embeddings", "autoencoder_embeddings",
        "embeddings by property",
        "Do embeddings lie by how good a network is, and by how far it was trained? The mean code of each test model at each "
        "epoch, in two principal components, colored by test accuracy and by epoch, beside the same of the encoder before its "
        "first step. What two numbers show is less than what a probe reads: see the figure *linear probes*.",
    ),
    Figure(
        "losses", "autoencoder", "autoencoder.figures.losses:plot_losses", "metrics", "training curves",
        "Training curves of each autoencoder, one line per seed: the total as it was trained, and its parts unscaled.",
    ),
    Figure(
        "recovery_solved", "recovery", "recovery.figures.solved:plot_recovery_solved", "metrics", "teachers solved",
        "Which teachers are recovered exactly: every unit matched, one to one, within a cosine distance of 1e-3, and no "
        "unit too many. Left by how much wider than the teacher the students were (with one width: by recovery), beside "
        "networks trained at the teacher's own size, which find the teacher only by luck. Right by how easily the "
        "teacher's weights can be told from its outputs at all. Intervals are over teachers and seeds.",
    ),
    Figure(
        "recovery_coverage", "recovery", "recovery.figures.coverage:plot_recovery_coverage", "metrics", "coverage of units",
        "Share of the teachers' units whose incoming weights are recovered to within a cosine distance, for distances "
        "from 1e-12 to 1e-1. A flat line says that units are either found to numerical precision or not found. With more "
        "than five recoveries, those of one expansion factor are pooled.",
    ),
    Figure(
        "recovery_sizes", "recovery", "recovery.figures.sizes:plot_recovery_sizes", "metrics", "size and error",
        "Error on held-out inputs against size, both relative to the teacher's: the recovered network beside its best "
        "student, which is larger, and beside what the same answers give without clustering: networks trained at the "
        "teacher's size, the best student pruned to it, and one such network with the compute of all students.",
    ),
    Figure(
        "recovery_clusters", "recovery", "recovery.figures.clusters:plot_recovery_clusters", "recovery_merges",
        "clusters of neurons",
        "How neurons of many students cluster, for up to three recoveries, one teacher of each. Units of the teacher are "
        "found by many students and form clusters at low heights; what else is in a student differs from student to "
        "student. The dashed line is the height at which the tree is cut; below, the number of clusters that neurons of "
        "enough students share, for every such height.",
    ),
    Figure(
        "recovery_neurons", "recovery", "recovery.figures.neurons:plot_recovery_neurons", "recovery_neurons", "weights of units",
        "Incoming weights of units of the first layer, the teacher's beside the recovered ones, for one teacher of up to "
        "two recoveries. The units shown are spread evenly from the best to the worst angle: nothing is picked.",
    ),
    Figure(
        "predictor_rate", "predictor", "predictor.figures.rate:plot_predictor_rate", "metrics", "accuracy and bytes",
        "Test accuracy against bytes: the gain over the own original against the size of the whole file that the network "
        "is rebuilt from, for predictors and for plainer ways to make the original small. The originals are the line at "
        "0, the gray steps the best mean gain at no more bytes. Gains are paired with each original and seed.",
    ),
    Figure(
        "predictor_error", "predictor", "predictor.figures.error:plot_predictor_error", "metrics", "accuracy and error",
        "Test accuracy against error in the weights: does a predictor's error do the network good, and does the same "
        "error do so when noise, truncated singular values, shrinkage or a low-pass filter make it? The originals are the "
        "star at error 0. Where networks have batch norms, a second panel shows the same with these recalibrated on train "
        "images.",
    ),
    Figure(
        "predictor_rounds", "predictor", "predictor.figures.rounds:plot_predictor_rounds", "metrics", "progressive rounds",
        "Progressive reconstruction, where each round fits a new predictor to what the one before put out: accuracy gain, "
        "error, stable rank and high-frequency share after each round, all against the own original.",
    ),
    Figure(
        "predictor_spectra", "predictor", "predictor.figures.spectra:plot_predictor_spectra", "predictor_spectra",
        "singular values",
        "Singular values of layers of one original and of what predictors made of them. Layers are spread evenly from the "
        "first to the last: nothing is picked.",
    ),
    Figure(
        "predictor_kernels", "predictor", "predictor.figures.kernels:plot_predictor_kernels", "predictor_kernels", "kernels",
        "Kernels of one original, what a predictor made of them, and the difference, on one scale of colors per layer. "
        "Kernels are spread evenly over those of the table: nothing is picked.",
    ),
    Figure(
        "generation_fine_tuning", "generation", "generation.figures.fine_tuning:plot_fine_tuning", "metrics",
        "accuracy over fine-tuning",
        "Test accuracy of generated networks, before and after fine-tuning, beside what takes their place at the same cost: "
        "networks from scratch, the anchors that codes are drawn from, their reconstructions, noise, means of several, and "
        "simple densities of weights. A sampler that copies is its reconstructions; one that is no more than its anchors "
        "saves nothing.",
    ),
    Figure(
        "generation_plane", "generation", "generation.figures.plane:plot_generation_plane", "metrics", "accuracy and novelty",
        "Are generated networks better than noise that is as new as they are? Test accuracy against the similarity of mistakes "
        "with the train network where it is largest, of generated networks, rivals and held-out networks, with the front of "
        "anchors under noise of growing size. The verdict (copy, perturbation or interpolation, generalizing) follows a rule "
        "that was set before.",
    ),
    Figure(
        "generation_distances", "generation", "generation.figures.distances:plot_generation_distances", "metrics",
        "nearest distances",
        "Are generated networks as far from the train networks as networks that nobody has shown the autoencoder? Distances of "
        "learned weights to the nearest train network, units permuted to match, with U/(mn): the share of pairs in which a "
        "network is farther away than a held-out one.",
    ),
]  # fmt: skip


CLAIMS = Figure(
    "claims", "claims", "report.claims_table:plot_claims", "claims", "claims",
    "What the papers report: each claim with its published value, our measurement with its interval, n, and a verdict.",
)  # fmt: skip


def metrics_of(stage: str) -> dict[str, Metric]:
    """Metrics that rows of a stage may have, by name."""
    return {metric.name: metric for metric in _metrics_of_room(stage).METRICS}


def metric_named(name: str, stage: str | None = None) -> Metric:
    """A metric of a stage, or of the first that has it; raises InputError where there is none of that name."""
    for each in [stage] if stage else STAGES:
        if found := metrics_of(each).get(name):
            return found
    raise InputError(f"there is no metric {name!r}{f' of the stage {stage}' if stage else ''}")


def figures_of(stages: Iterable[str], columns: Iterable[str] = ()) -> dict[str, Figure]:
    """Figures of these stages, by name; those that need a column of the table of cells where it is among `columns`."""
    known, columns = set(stages), {"", *columns}
    return {figure.name: figure for figure in FIGURES if figure.stage in known and figure.column in columns}


def figure_named(name: str) -> Figure:
    """A figure of the registry; raises InputError where there is none of that name."""
    for figure in [*FIGURES, CLAIMS]:
        if figure.name == name:
            return figure
    raise InputError(f"there is no figure {name!r}")


def schema_of(table: str) -> pa.Schema:
    """Columns of one of SIDE_TABLES."""
    side = SIDE_TABLES[table]
    return getattr(_metrics_of_room(side.stage), side.schema)


def _metrics_of_room(stage: str) -> ModuleType:
    return import_module(f"weightspace.{STAGES[stage].room}.metrics")
