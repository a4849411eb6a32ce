"""What trained zoos take on disk and in memory: the epochs whose weights are stored, and their size, from the settings alone."""

from collections.abc import Callable, Collection, Iterator
from statistics import fmean

from weightspace.autoencoder.settings import AutoencoderConfig
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.nets.spec import build_spec
from weightspace.scenario import Scenario
from weightspace.zoo.settings import ZooConfig

BYTES = 4  # of a weight, as it is stored
UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


def stored_epochs(scenario: Scenario, name: str) -> list[int]:
    """Epochs of a zoo whose weights are stored: the listed ones, or those that a cell reads, and the last."""
    zoo = scenario.zoos[name]
    if zoo.weights != "read":
        return zoo.storable
    return sorted({zoo.epochs[-1]}.union(*(epochs for _, other, epochs in scenario.read_of_zoos if other == name)))


def num_stored(scenario: Scenario, name: str) -> int:
    """Checkpoints of each model of a zoo that are stored: of epochs, and the mean of the last ones if it is asked for."""
    return len(stored_epochs(scenario, name)) + bool(scenario.zoos[name].averaged_epochs)


def weights_mb(
    scenario: Scenario, name: str, num_models: int, num_checkpoints: int, of: Callable[[list[int]], float] = fmean
) -> float:
    """Size of the weights of so many models of a zoo, so many checkpoints of each, in MB of 10^6 bytes.

    Where the architecture varies a model has the mean of their numbers of weights, or the one that `of` takes.
    """
    zoo = scenario.zoos[name]
    images = scenario.images[zoo.images]
    specs = [build_spec(layers, "relu", images.image_shape, images.num_classes) for layers in zoo.every("architecture")]
    return num_models * num_checkpoints * of([spec.num_weights for spec in specs]) * BYTES / 1e6


def weights_read_mb(scenario: Scenario, cell: AutoencoderConfig | BaselineConfig) -> float:
    """Size of the weights that a cell reads, in MB; without those of imported zoos, whose files alone tell it."""
    trained = {name: zoo for name in cell.zoos if isinstance(zoo := scenario.zoos[name], ZooConfig)}
    epochs = {name: len(cell.epochs or stored_epochs(scenario, name)) for name in trained}
    return sum((weights_mb(scenario, name, zoo.num_models, epochs[name]) for name, zoo in trained.items()), 0.0)


def told_sizes(scenario: Scenario, names: Collection[str], free: float) -> Iterator[str]:
    """One sentence per zoo: its models and stored epochs, and their size on disk; if fewer bytes are free, that too."""
    for name in sorted(names):
        zoo, epochs = scenario.zoos[name], stored_epochs(scenario, name)
        size = 1e6 * weights_mb(scenario, name, zoo.num_models, num_stored(scenario, name))
        averaged = f", and the mean of the last {zoo.averaged_epochs}" if zoo.averaged_epochs else ""
        lacking = f", where only {_told(free)} are free" if free < size else ""
        yield (
            f"zoo {name!r}: {zoo.num_models:,} models, weights of {len(epochs)} of {len(zoo.epochs)} measured epochs "
            f"({', '.join(map(str, epochs))}){averaged}: {_told(size)} on disk{lacking}"
        )


def _told(size: float) -> str:
    unit = next((unit for unit, num in UNITS.items() if size >= num), "kB")
    return f"{size / UNITS[unit]:.1f} {unit}"
