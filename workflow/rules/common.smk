"""Scenario to checked settings, cells, stage versions, wildcard constraints and resources."""

import sys

sys.path.append(f"{workflow.basedir}/workflow/scripts")

from pathlib import Path

from weightspace.checks import check_scenario
from weightspace.images.check import check_image_files
from weightspace.scenario import read_options, read_scenario
from weightspace.errors import InputError
from weightspace.report.registry import figure_named

# Raise a stage's number when its results change, in the same commit as tests/golden.
VERSION = {"images": 2, "zoo": 1, "autoencoder": 1, "evaluation": 2, "recovery": 5, "predictor": 5, "report": 2}


def checked_settings():
    """Options and scenario, every cell checked before the first job."""
    try:
        options = read_options(config)
        scenario = read_scenario(Path(workflow.basedir, "config", "scenarios"), options)
        check_scenario(scenario, options.scenario)
        return options, scenario
    except InputError as error:
        sys.exit(f"error: {error}")


options, settings = checked_settings()
SCENARIO = options.scenario


def mem_scaled(mem_mb):
    """Memory that doubles with every retry; more where a scenario's images take more."""
    return lambda wildcards, attempt: (mem_mb + settings.images_mem_mb) * 2 ** (attempt - 1)


def image_files_checked(wildcards):
    """Return no files; exit if an image file is missing or cannot be used. Figures alone do not ask."""
    name = wildcards.images
    try:
        check_image_files(settings.images[name], options.images_dir, f"{SCENARIO}.yaml: images.{name}")
    except InputError as error:
        sys.exit(f"error: {error}")
    return []


def gpus():
    """GPUs that a training job asks a cluster for."""
    return int(settings.device == "cuda")


def of_each_seed(cells, file):
    """`file`, the cell's name and the seed in its braces, for each cell and seed of a section."""
    return [file.format(name, seed) for name, cell in cells.items() for seed in cell.seeds]


def shown_in(figure):
    """What the scenario says of a figure."""
    return settings.figures[figure].model_dump() | {"cells": settings.shown_in(figure)} if figure in settings.figures else {}


def one_of(cells):
    """A pattern for the names of cells; where there are none, one that nothing matches."""
    return "|".join(cells) or "(?!)"


def files_named(path, cell, key):
    """`path` for the cell that `cell` names under `key`; no file where it names none."""
    name = getattr(cell, key, None)
    return [] if name is None else [path.format(name)]


def teacher_of(wildcards):
    """The teachers' cell of a recovery."""
    return settings.teachers[settings.recoveries[wildcards.recovery].teacher]


def trained_on(teacher):
    """The cell, the teachers' own or their zoo's, that names the images which teachers were trained on, if any."""
    return settings.zoos[teacher.zoo] if teacher.kind == "zoo" else teacher


def own_images(wildcards):
    """The same of a recovery's teachers."""
    return trained_on(teacher_of(wildcards))


def masked(wildcards):
    """Whether a recovery compares neurons by some pixels alone."""
    return settings.recoveries[wildcards.recovery].cluster.mask == "boruta"


def attacked(wildcards):
    """The recovery that a baseline stands against."""
    return settings.recoveries[settings.recovery_baselines[wildcards.recovery_baseline].recovery]


def first_seed(wildcards, file):
    """A file of the first seed of the recovery that a baseline stands against."""
    recovery = settings.recovery_baselines[wildcards.recovery_baseline].recovery
    return f"<results>/recovery/{recovery}/seed-{attacked(wildcards).seeds[0]}/{file}"


def originals_of(wildcards):
    """The cell of the originals that a predictor holds."""
    return settings.originals[settings.predictors[wildcards.predictor].originals]


def images_to_distill(wildcards):
    """The images that a predictor learns from; none without distillation."""
    distilled = settings.predictors[wildcards.predictor].distillation is not None
    return [f"<results>/images/{originals_of(wildcards).images}.safetensors"] if distilled else []


def sharing(wildcards):
    """Predictor cells that train in the job of one of them, this one first, then by name: in whatever order they are written."""
    others = sorted(name for name, cell in settings.predictors.items() if cell.stack == wildcards.predictor)
    return {name: settings.predictors[name] for name in [wildcards.predictor, *others]}


def controlled_name(wildcards):
    """The cell of the predictor that a control stands against."""
    return settings.predictor_controls[wildcards.predictor_control].predictor


def controlled(wildcards):
    """The predictor that a control stands against."""
    return settings.predictors[controlled_name(wildcards)]


def trained_with(predictor):
    """The file of the job that a cell of predictors trains in."""
    return f"<results>/predictor/{settings.predictors[predictor].stack or predictor}/predictors.safetensors"


wildcard_constraints:
    images=one_of(settings.images),
    zoo=one_of(settings.zoos),
    autoencoder=one_of(settings.autoencoders),
    baseline=one_of(settings.baselines),
    teacher=one_of(settings.teachers),
    recovery=one_of(settings.recoveries),
    recovery_baseline=one_of(settings.recovery_baselines),
    originals=one_of(settings.originals),
    predictor=one_of(settings.predictors),
    predictor_control=one_of(settings.predictor_controls),
    figure=one_of([*settings.figure_names, "claims"]),
    shard=r"\d+",
    seed=r"\d+",
