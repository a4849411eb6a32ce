"""What published code returned on inputs of ours (tests/golden/peers), and its networks and weights in our form."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from weightspace.nets.spec import build_spec

FOLDER = Path(__file__).parent / "golden" / "peers"
CNN = build_spec("cnn", "tanh", (1, 28, 28), 10)  # the zoo's class CNN, 2,464 weights
OURS = {  # their names of an autoencoder's parts, and ours
    "encoder_comp": "compress", "decoder_comp": "expand", "pe.pe1": "sequence", "pe.pe2": "layer", "pe.pe3": "unit",
    "projection_head.head.0": "head.1", "projection_head.head.1": "head.2",
    "projection_head.head.3": "head.4", "projection_head.head.4": "head.5",
    "transformer_encoder.layers": "encoder.layers", "transformer_decoder.layers": "decoder.layers",
    "transformer_encoder.transformer": "encoder.layers", "transformer_decoder.transformer": "decoder.layers",
    "ln_1": "norm1", "ln_2": "norm2", "attn.c_attn.weight": "self_attn.in_proj_weight", "attn.c_proj": "self_attn.out_proj",
    "mlp.c_fc": "linear1", "mlp.c_proj": "linear2",
}  # fmt: skip


def recorded(name):
    """The tensors of one file, by their names."""
    return load_file(FOLDER / f"{name}.safetensors")


def below(tensors, prefix):
    """Those whose names begin with `prefix`, by the rest of the name."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def our_name(theirs):
    """Our name of a parameter of their autoencoder."""
    for part, ours in OURS.items():
        theirs = theirs.replace(part, ours)
    return theirs


def our_names(tensors):
    """Their parameters of an autoencoder, or numbers about them, by our names."""
    return {our_name(name): tensor for name, tensor in tensors.items()}


def flat_weights(tensors):
    """A stack of their networks as flat weights: of each layer the weights, then the biases."""
    layers = sorted({name.rpartition(".")[0] for name in tensors}, key=lambda name: int(name.rpartition(".")[2]))
    return torch.cat([tensors[f"{layer}.{kind}"].flatten(1) for layer in layers for kind in ("weight", "bias")], dim=1)
