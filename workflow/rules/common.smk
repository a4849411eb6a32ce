"""Where the workflow lies, its checked settings, stage versions, resources and wildcard constraints."""

import os
import sys
from math import ceil
from pathlib import Path

SOURCES = Path(str(workflow.current_basedir)).parents[1]
sys.path.append(str(SOURCES.joinpath("workflow", "scripts")))
if any(letter.isspace() for letter in sys.executable):  # Snakemake starts jobs with this path unquoted: let PATH find it
    os.environ.update(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    sys.executable = "python"

from weightspace.checks import check_scenario
from weightspace.images.check import check_image_files
from weightspace.options import read_options, read_scenario
from weightspace.errors import InputError
from weightspace.report.registry import SIDE_TABLES, figure_named
from weightspace.stages import STAGES, VERSION
from weightspace.stored import num_stored, stored_epochs, told_sizes, weights_mb, weights_read_mb
from weightspace.zoo.checking import check_checkpoints, files_digest


def found(path):
    """A file of the working directory, or where there is none the checkout's own."""
    return path if Path(path).is_file() else str(SOURCES / path)


configfile: found("config/config.yaml")


def checked_settings():
    """Options and scenario, every cell checked before the first job."""
    try:
        options = read_options(config)
        scenario = read_scenario([Path("config", "scenarios"), SOURCES.joinpath("config", "scenarios")], options)
        check_scenario(scenario, options.scenario)
        return options, scenario
    except InputError as error:
        sys.exit(f"error: {error}")


options, settings = checked_settings()
SCENARIO = options.scenario
GPUS = int(settings.device == "cuda")  # that a training job asks a cluster for


def mem_scaled(mem_mb, weights_mb=lambda wildcards: 0):
    """Memory that doubles with every retry; more where a scenario's images, or the weights that a job holds, take more."""
    return lambda wildcards, attempt: (mem_mb + settings.images_mem_mb + int(weights_mb(wildcards))) * 2 ** (attempt - 1)


def training_minutes(wildcards, attempt):
    """Time limit of a job that trains; it doubles with every retry, which goes on from the last saved state."""
    return settings.training_minutes * 2 ** (attempt - 1)


def image_files_checked(wildcards):
    """Return no files; exit if an image file is missing or cannot be used. Figures alone do not ask."""
    name = wildcards.images
    try:
        check_image_files(settings.images[name], options.images_dir, f"{SCENARIO}.yaml: images.{name}")
    except InputError as error:
        sys.exit(f"error: {error}")
    return []


def checkpoints_checked(wildcards):
    """Return no files; exit if a folder of checkpoints is missing or holds none that can be used."""
    cell = settings.zoos[wildcards.zoo]
    try:
        check_checkpoints(cell, settings.images.get(cell.images), f"{SCENARIO}.yaml: zoos.{wildcards.zoo}")
    except InputError as error:
        sys.exit(f"error: {error}")
    return []


def zoos_from(source):
    """Names of the zoos that are trained, or of those that are imported."""
    return [name for name, cell in settings.zoos.items() if cell.source == source]


def of_each_seed(stage, file):
    """A table that every seed of every cell of a stage leaves."""
    cells = getattr(settings, STAGES[stage].section)
    return [f"<results>/{stage}/{name}/seed-{seed}/{file}.parquet" for name, cell in cells.items() for seed in cell.seeds]


def metrics_file(stage, name, seed):
    """Where a stage leaves the rows of a cell, one file for each seed where it has seeds."""
    folder = f"<results>/{stage}/{name}" if seed is None else f"<results>/{stage}/{name}/seed-{seed}"
    return f"{folder}/metrics.parquet"


def order_file(predictor):
    """The file of the order of a predictor's kernels; predictors of the same networks share it."""
    cell = settings.predictors[predictor]
    return f"<results>/zoo/{cell.zoo}/orders/{cell.order_name}.safetensors"


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


def files_of_zoos(cell, file):
    """A file of each zoo that an autoencoder or a baseline reads."""
    return [f"<results>/zoo/{zoo}/{file}" for zoo in cell.zoos]


def orders_of_zoos(cell):
    """How the units of each zoo are ordered, where they are."""
    return files_of_zoos(cell, "unit_orders.safetensors") if cell.align else []


def images_of_zoos(cell):
    """The image set of each of these zoos; null where a zoo has none."""
    return {zoo: settings.zoos[zoo].images for zoo in cell.zoos}


def image_files_of_zoos(cell):
    """Their image sets, and another that an autoencoder asks about, each once."""
    names = dict.fromkeys(name for name in [*images_of_zoos(cell).values(), getattr(cell, "query_images", None)] if name)
    return [f"<results>/images/{name}.safetensors" for name in names]


def predictor_of(wildcards):
    """Name of the predictors' cell that a control is compared with."""
    return settings.predictor_controls[wildcards.predictor_control].predictor


def coder(wildcards):
    """The autoencoder that networks are generated with."""
    return settings.autoencoders[settings.generations[wildcards.generation].autoencoder]


def parts_of(zoo):
    """The folders that a zoo's weights lie in; an import makes one.

    Of folders Snakemake compares dates alone. What is beside them, tables and the index with its digests, changes with them.
    """
    num_shards = getattr(settings.zoos[zoo], "num_shards", 1)
    return [ancient(f"<results>/zoo/{zoo}/shards/{shard}") for shard in range(num_shards)]


def parts_named(*cells):
    """Folders of the zoos that cells name as `zoo` or `teacher`."""
    names = dict.fromkeys(name for cell in cells for key in ("zoo", "teacher") if (name := getattr(cell, key, None)))
    return [folder for name in names for folder in parts_of(name)]


def shard_mb(wildcards, most_models=None, **of):
    """Weights of one shard, or of so many of its models where it has more."""
    zoo = settings.zoos[wildcards.zoo]
    num_models = min(ceil(zoo.num_models / zoo.num_shards), most_models or zoo.num_models)
    return weights_mb(settings, wildcards.zoo, num_models, num_stored(settings, wildcards.zoo), **of)


def part_mb(wildcards):
    """Weights of one part, of the largest architecture, and what it takes to write it."""
    return 3 * shard_mb(wildcards, settings.zoos[wildcards.zoo].stack_size, of=max)


def read_mb(cell):
    """Weights that an autoencoder or a baseline reads, twice."""
    return 2 * weights_read_mb(settings, cell)


wildcard_constraints:
    **{stage: one_of(getattr(settings, section)) for stage, (section, *_) in STAGES.items()},
    images=one_of(settings.images),
    figure=one_of([*settings.figure_names, "claims"]),
    shard=r"\d+",
    seed=r"\d+",
