"""A trained autoencoder as one safetensors file, with all that is needed to rebuild it."""

import json
from pathlib import Path
from typing import NamedTuple

import torch

from weightspace.autoencoder.model import Autoencoder, as_measured
from weightspace.autoencoder.problem import AutoencoderData
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.train import Trained
from weightspace.jobs import Job
from weightspace.nets.spec import build_spec
from weightspace.rng import generator_for
from weightspace.store import load_tensors, save_tensors
from weightspace.tokens import Codec, Scale, rows_of, token_layout


class Stored(NamedTuple):
    """What a file of an autoencoder holds of one of its zoos."""

    config: AutoencoderSettings
    codec: Codec
    trained: Autoencoder
    untrained: Autoencoder  # the same before its first step, the control of the probes

    @property
    def decoder_bytes(self) -> int:
        """Of what makes weights of a code, in float32: decoder, scale of each layer, numbers without a token, and the spec."""
        layout, scales = self.codec.layout, 2 * len(rows_of(self.codec.spec)) if self.config.standardize else 0
        given = int((layout.inverse >= layout.index.numel()).sum())
        return 4 * (self.trained.decoder_size + scales + given) + len(json.dumps(self.codec.spec.description))


def write_autoencoder(path: str | Path, data: list[AutoencoderData], trained: Trained, seed: int, job: Job | None = None) -> None:
    """Write parameters, settings, seed, scale of the losses, and of each zoo its spec and the scale of its weights."""
    tensors = {f"model.{name}": tensor for name, tensor in trained.model.state_dict().items()}
    for each in data:
        scale = each.codec.scale._asdict()
        tensors |= {f"scale.{each.config.zoo}.{name}": tensor for name, tensor in scale.items()}
        tensors |= {} if each.codec.given is None else {f"given.{each.config.zoo}": each.codec.given}
    about = {
        "config": data[0].config.model_dump(mode="json"),
        "specs": {each.config.zoo: each.codec.spec.description for each in data},
        "seed": seed,
        "loss_scales": trained.loss_scales,
    }
    save_tensors(path, tensors, about, job)


def read_autoencoder(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Stored]:
    """Rebuild what `write_autoencoder` wrote, for each zoo, on `device`; raises InputError naming the file if it is damaged."""
    tensors, metadata = load_tensors(path, device)
    config, specs = AutoencoderSettings(**metadata["config"]), metadata["specs"]
    codecs = {}
    for zoo, spec in specs.items():
        spec, scale = build_spec(**spec), Scale(*(tensors[f"scale.{zoo}.{name}"] for name in Scale._fields))
        layout = token_layout(spec, config.token_size, config.batch_norm_tokens)
        codecs[zoo] = Codec(spec, layout, scale, tensors.get(f"given.{zoo}")).to(device)
    generators = (generator_for("autoencoder", "init", metadata["seed"]) for _ in range(2))
    layouts = [codec.layout for codec in codecs.values()]
    trained, untrained = (Autoencoder(as_measured(config), layouts, generator).to(device) for generator in generators)
    trained.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    return {zoo: Stored(config.model_copy(update={"zoo": zoo}), codec, trained, untrained) for zoo, codec in codecs.items()}
