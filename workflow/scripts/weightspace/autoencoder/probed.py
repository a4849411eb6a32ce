"""What linear probes may read, and what they may predict from it, as data; the settings that choose."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from weightspace.settings import Once, Settings

FEATURES = {
    "embedding": "the embedding",
    "random_encoder": "an untrained encoder's",
    "weight_statistics": "plain statistics",
    "token_statistics": "statistics of whole tokens, padding too",
    "sequence": "all codes of a network",
    "random_sequence": "all codes of an untrained encoder",
    "projection": "what the contrast compares",
    "pca_embedding": "principal components, as many as the embedding has numbers",
    "pca_sequence": "principal components, as many as all codes have numbers",
    "weights": "all weights that have tokens",
    "answers": "softmax outputs on fixed train images",
    "learned_answers": "softmax outputs on inputs that were learned for the target",
}
TARGETS = ("test_accuracy", "generalization_gap", "epoch", "learning_rate", "weight_decay", "init")
SCORES = {"r2": "R2", "tau": "Kendall's tau-b, of targets with an order"}
CLASSES = ("init",)  # of the targets, those without an order: a column of 0 and 1 for each class


class ProbesConfig(Settings):
    """What linear probes read of the test models, and what they predict."""

    features: Annotated[list[Literal[tuple(FEATURES)]], Once] = Field(
        ["embedding", "random_encoder", "weight_statistics"],
        min_length=1,
        description="what is read: " + "; ".join(f"{name}: {said}" for name, said in FEATURES.items()),
    )
    targets: Annotated[list[Literal[TARGETS]], Once] = Field(
        ["test_accuracy", "generalization_gap", "epoch"],
        min_length=1,
        description="what is predicted, where a zoo knows it of all checkpoints and it differs between test models",
    )
    scores: Annotated[list[Literal[tuple(SCORES)]], Once] = Field(
        ["r2"], min_length=1, description="how well: " + "; ".join(f"{name}: {said}" for name, said in SCORES.items())
    )
    num_inputs: PositiveInt = Field(64, description="inputs that networks answer, of answers and learned_answers")
    steps: NonNegativeInt = Field(
        200, description="of learned_answers: gradient steps on the inputs, which start as train images"
    )
    learning_rate: PositiveFloat = Field(0.05, description="of learned_answers: of Adam, in deviations of the pixels")


DEFAULT_PROBES = ProbesConfig()
