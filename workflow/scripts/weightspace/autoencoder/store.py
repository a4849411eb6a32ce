"""A trained autoencoder as one safetensors file, with all that is needed to rebuild it."""

from pathlib import Path
from typing import NamedTuple

import torch

from weightspace.autoencoder.model import Autoencoder, without_dropout
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.train import AutoencoderData, Trained
from weightspace.jobs import Job
from weightspace.nets.spec import build_spec
from weightspace.rng import generator_for
from weightspace.store import load_tensors, save_tensors
from weightspace.tokens import Codec, Scale, token_layout


class Stored(NamedTuple):
    """What a file of an autoencoder holds."""

    config: AutoencoderSettings
    codec: Codec
    trained: Autoencoder
    untrained: Autoencoder  # the same before its first step, the control of the probes


def write_autoencoder(path: str | Path, data: AutoencoderData, trained: Trained, seed: int, job: Job | None = None) -> None:
    """Write parameters, the scale of the weights, settings, spec, seed and the scale of the losses."""
    tensors = {f"model.{name}": tensor for name, tensor in trained.model.state_dict().items()}
    tensors |= {"scale.mean": data.codec.scale.mean, "scale.std": data.codec.scale.std}
    about = {
        "config": data.config.model_dump(mode="json"),
        "spec": data.codec.spec.description,
        "seed": seed,
        "loss_scale": trained.loss_scale,
    }
    save_tensors(path, tensors, about, job)


def read_autoencoder(path: str | Path, device: str | torch.device = "cpu") -> Stored:
    """Rebuild what `write_autoencoder` wrote, on `device`; raises InputError naming the file if it is damaged."""
    tensors, metadata = load_tensors(path, device)
    config, spec, seed = AutoencoderSettings(**metadata["config"]), build_spec(**metadata["spec"]), metadata["seed"]
    layout = token_layout(spec, config.token_size)
    generators = (generator_for("autoencoder", "init", seed) for _ in range(2))
    trained, untrained = (Autoencoder(without_dropout(config), layout, generator) for generator in generators)
    trained.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    codec = Codec(spec, layout, Scale(tensors["scale.mean"], tensors["scale.std"])).to(device)
    return Stored(config, codec, trained.to(device), untrained.to(device))
