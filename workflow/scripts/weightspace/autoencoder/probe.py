"""Probes: what of a model's properties can be read off some features of it, linearly."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64

from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.features import NEED_IMAGES, ONE_UNIT, READ, Probed
from weightspace.autoencoder.kendall import kendall_values
from weightspace.autoencoder.learned_inputs import learned_answers
from weightspace.autoencoder.probed import CLASSES
from weightspace.autoencoder.ridge import Targets, probe_of


@torch.no_grad()
def probe_metrics(probed: Probed) -> dict[str, Float64[np.ndarray, " model"]]:
    """`probe_error_<target>_<features>` and `probe_deviation_<target>` of what the settings name, `probe_tau_...` if they do.

    One value per test model. Errors are summed over its checkpoints: 1 - mean error / mean deviation is the R2 over all test
    checkpoints, also where models have more of them than others. Of classes errors are summed over their columns too; they have
    no order, and no tau. The mean of tau is Kendall's over all test checkpoints.
    """
    config, models = probed.probes, probed.splits["test"].properties["model"].to_numpy()
    kind, metrics = probed.stored.config.probe_features, {}
    wanted = _wanted(probed)
    known = {name: probe_of(READ[name](probed), kind, name in ONE_UNIT) for name in wanted if name in READ}
    for target in config.targets:
        if (targets := known_targets(target, probed.splits)) is None:
            continue
        errors = {}
        for name in wanted:
            probe = known[name] if name in known else probe_of(learned_answers(probed, targets), kind, name in ONE_UNIT)
            prediction = probe.predict(targets)
            errors[f"error_{target}_{name}"] = _squared(prediction - targets["test"])
            if "tau" in config.scores and target not in CLASSES:
                metrics[f"probe_tau_{target}_{name}"] = kendall_values(targets["test"], prediction, models)
        errors[f"deviation_{target}"] = _squared(targets["test"] - targets["test"].mean(0))
        metrics |= {f"probe_{name}": pd.Series(each).groupby(models).sum().to_numpy() for name, each in errors.items()}
    return metrics


def _wanted(probed: Probed) -> list[str]:
    """Features that there are: without images there are no answers."""
    names = probed.probes.features
    if probed.images is None and (lost := [name for name in names if name in NEED_IMAGES]):
        print(f"no probe from {' and '.join(lost)}: the zoo has no images")
        return [name for name in names if name not in lost]
    return names


def known_targets(target: str, splits: dict[str, Checkpoints]) -> Targets | None:
    """A property of the checkpoints of each split; None, and a line that says why, where it is not known of all, or constant.

    A class is a column of 0 and 1 for each class of any split.
    """
    if not all(_known(target, checkpoints.properties) for checkpoints in splits.values()):
        print(f"no probe for {target}: it is not known of all checkpoints")
        return None
    values = {split: checkpoints.properties[target].to_numpy() for split, checkpoints in splits.items()}
    if len(set(values["test"])) == 1:
        print(f"no probe for {target}: it is {values['test'][0]} for all test models")
        return None
    if target in CLASSES:
        classes = np.unique(np.concatenate(list(values.values())).astype(str))
        return {split: (each.astype(str)[:, None] == classes).astype(float) for split, each in values.items()}
    return {split: each.astype(float) for split, each in values.items()}


def _known(target: str, properties: pd.DataFrame) -> bool:
    """Whether every checkpoint has the property: of an imported zoo it may not."""
    return target in properties and bool(properties[target].notna().all())


def _squared(errors: Float64[np.ndarray, "n ..."]) -> Float64[np.ndarray, " n"]:
    """Squares, summed over the columns of a class."""
    return np.square(errors) if errors.ndim == 1 else np.square(errors).sum(1)
