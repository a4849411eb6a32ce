"""A trained autoencoder as one safetensors file, with all that is needed to rebuild it."""

from typing import NamedTuple

from torch import Tensor

from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.settings import AutoencoderConfig
from weightspace.autoencoder.train import Problem, Trained
from weightspace.nets.spec import build_spec
from weightspace.rng import generator_for
from weightspace.tokens import Codec, Scale, token_layout


def pack_autoencoder(problem: Problem, trained: Trained, seed: int) -> tuple[dict[str, Tensor], dict]:
    """Tensors and JSON-able metadata: parameters, the scale of the weights, settings, spec, seed, scale of the losses."""
    tensors = {f"model.{name}": tensor for name, tensor in trained.model.state_dict().items()}
    return tensors | {"scale.mean": problem.codec.scale.mean, "scale.std": problem.codec.scale.std}, {
        "config": problem.config.model_dump(mode="json", exclude={"seeds"}),
        "spec": problem.codec.spec.description,
        "seed": seed,
        "loss_scale": trained.loss_scale,
    }


class Stored(NamedTuple):
    """What a file of an autoencoder holds."""

    config: AutoencoderConfig
    codec: Codec
    trained: Autoencoder
    untrained: Autoencoder  # the same before its first step, the control of the probes


def unpack_autoencoder(tensors: dict[str, Tensor], metadata: dict) -> Stored:
    """Rebuild an autoencoder from what `pack_autoencoder` made, on the device of its tensors."""
    seed = metadata["seed"]
    config = AutoencoderConfig(**metadata["config"], seeds=[seed])
    spec = build_spec(**metadata["spec"])
    layout = token_layout(spec, config.token_size)
    trained, untrained = (Autoencoder(config, layout, generator_for("autoencoder", "init", seed)) for _ in range(2))
    trained.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    device = tensors["scale.mean"].device
    codec = Codec(spec, layout, Scale(tensors["scale.mean"], tensors["scale.std"])).to(device)
    return Stored(config, codec, trained.to(device), untrained.to(device))
