"""The stages, as data: what everyone must know who reads a scenario's settings, files or rows."""

from typing import NamedTuple


class Stage(NamedTuple):
    """One kind of cell: where it is written, where its code lies, what its numbers are sampled by."""

    section: str  # of a scenario
    of: tuple[str, ...]  # keys of a cell, one of which names the cell that it is made from or stands against
    room: str  # whose metrics its rows have
    noun: str = "model"  # one of its subjects
    shown_with: str = ""  # the stage in whose figures its cells are shown, if not in its own
    against: bool = False  # stands against the cell that `of` names, and is shown with it
    trained: bool = True  # what is computed and not trained has no seeds
    least_models: int = 2  # subjects, and seeds, from which on an interval holds what another would change
    least_seeds: int = 2
    measured: bool = True  # leaves a table of rows of its own


STAGES = {
    "zoo": Stage("zoos", ("images",), "zoo"),
    "alignment": Stage("alignments", ("zoo",), "zoo", "pair", trained=False, least_seeds=1),
    "autoencoder": Stage("autoencoders", ("zoo",), "autoencoder"),
    "baseline": Stage("baselines", ("zoo",), "autoencoder", shown_with="autoencoder", trained=False, least_seeds=1),
    "teacher": Stage("teachers", ("zoo",), "recovery", measured=False),
    # Recoveries are sampled by their teachers, whose errors lie decades apart.
    "recovery": Stage("recoveries", ("teacher",), "recovery", "teacher", least_models=5, least_seeds=1),
    "recovery_baseline": Stage(
        "recovery_baselines", ("recovery",), "recovery", "teacher", "recovery", against=True, least_models=5, least_seeds=1
    ),
    "predictor": Stage("predictors", ("zoo",), "predictor", "original"),
    # A control's own draws, as noise on thousands of weights, hardly matter.
    "predictor_control": Stage(
        "predictor_controls", ("predictor",), "predictor", "original", "predictor", against=True, least_seeds=1
    ),
    "generation": Stage("generations", ("autoencoder",), "generation", "network"),
    "generation_rival": Stage(  # its rows are written by the job of the networks that it stands against
        "generation_rivals", ("generation",), "generation", "network", "generation", against=True, measured=False
    ),
}

REFERENCES = (  # section, its key that names a cell, and the section of that cell
    ("zoos", "images", "images"),
    ("alignments", "zoo", "zoos"),
    ("autoencoders", "zoo", "zoos"),
    ("autoencoders", "query_images", "images"),
    ("autoencoders", "against", "autoencoders"),
    ("baselines", "zoo", "zoos"),
    ("teachers", "zoo", "zoos"),
    ("recoveries", "teacher", "teachers"),
    ("recoveries", "queries.images", "images"),
    ("predictors", "zoo", "zoos"),
    ("predictors", "distillation.teacher", "zoos"),
    ("predictors", "stack", "predictors"),
    ("predictor_controls", "teacher", "zoos"),
    ("generations", "autoencoder", "autoencoders"),
    ("generations", "zoo", "zoos"),
)

# Raise a number when results change, in the same commit as tests/golden: rules have it among their params, files hold it.
NUMBERS = {
    "images": 2,
    "zoo": 1,
    "properties": 1,
    "alignment": 1,
    "autoencoder": 2,
    "evaluation": 4,
    "recovery": 5,
    "predictor": 5,
    "generation": 1,
    "report": 2,
}
VERSION = {stage: f"{stage} {number}" for stage, number in NUMBERS.items()}
