"""Test networks made small one by one, without a code: what codes have to be compared with at equal bytes."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from weightspace.autoencoder.rate import Sizes
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.compression.compress import Compressed, Parameters, compress_low_rank, compress_pruned, compress_quantized
from weightspace.nets.spec import NetSpec
from weightspace.tokens import rows_of

COMPRESS: dict[str, Callable[[Parameters, list[str], BaselineConfig], Compressed]] = {
    "quantized": lambda parameters, names, config: compress_quantized(parameters, names, config.bits),
    "pruned": lambda parameters, names, config: compress_pruned(parameters, names, config.kept_share),
    "low_rank": lambda parameters, names, config: compress_low_rank(parameters, names, config.kept_share),
}


class CompressedNetworks(NamedTuple):
    """Networks after compression and decompression, and what they take."""

    weights: Float[Tensor, "model weight"]
    sizes: Sizes


def compressed(config: BaselineConfig, spec: NetSpec, weights: Float[Tensor, "model weight"]) -> CompressedNetworks:
    """Each network as a string of bytes, layer by layer a matrix of its units' incoming weights and biases, as tokens have them.

    Batch norms are kept as they are. The string's header, which tells names and shapes, counts as shared by all networks.
    """
    rows = {str(n): each for n, each in enumerate(rows_of(spec, "none"))}
    names = [name for name, each in rows.items() if each.tokens]
    rebuilt, sizes = weights.clone(), []
    for network in rebuilt:
        made = COMPRESS[config.kind]({name: network[each.index.to(network.device)] for name, each in rows.items()}, names, config)
        for name, each in rows.items():
            network[each.index.to(network.device)] = made.parameters[name].to(network)
        sizes.append((len(made.blob) - made.header, made.header))
    return CompressedNetworks(rebuilt, Sizes(*weights.new_tensor(sizes).T))
