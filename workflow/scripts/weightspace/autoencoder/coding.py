"""What an autoencoder hands to what stands on it: networks of its zoo, and its code of them as functions."""

from collections.abc import Callable

import torch
from torch import Tensor

from weightspace.autoencoder.data import Population, checkpoints_by_split
from weightspace.autoencoder.measure import Rebuilt, with_statistics
from weightspace.autoencoder.refine import refined, refining_of
from weightspace.autoencoder.store import Stored
from weightspace.autoencoder.windows import joined, windows_of
from weightspace.coded import CodedZoo
from weightspace.errors import InputError

Code = Callable[[Tensor], Tensor]


def coded_zoo(
    autoencoders: dict[str, Stored], zoos: list[Population], name: str | None, epoch: int | None, device: torch.device
) -> CodedZoo:
    """Networks of one of its zoos at one epoch, or of the first at the last, encoded and decoded as they are evaluated.

    All train networks are anchors. Raises InputError if the zoo has no images.
    """
    population = next(each for each in zoos if each.name == (name or zoos[0].name))
    stored, images = autoencoders[population.name], population.images
    if images is None:
        raise InputError(f"zoo {population.name!r} has no images to choose networks by")
    at = (stored.config.epochs or population.zoo.epochs)[-1] if epoch is None else epoch
    config = stored.config.model_copy(update={"epochs": [at]})
    splits = checkpoints_by_split(config, population, device, ["train", "test"])
    encode, decode = code_of(stored, population)
    spec, (train, test) = stored.codec.spec, (splits["train"], splits["test"])

    def conditioned(weights: Tensor) -> Tensor:
        rebuilt = Rebuilt(weights, weights.new_zeros(len(weights)))
        return with_statistics(spec, rebuilt, images, config.conditioning).weights

    anchors = torch.arange(len(train.weights), device=device)
    networks = (train.weights, train.properties, test.weights, test.properties)
    return CodedZoo(spec, *networks, images, anchors, encode, decode, conditioned)


def code_of(stored: Stored, population: Population) -> tuple[Code, Code]:
    """Functions from weights to codes, refined where the settings say so, and from codes to weights."""
    config, codec, model = stored.config, stored.codec, stored.trained
    positions, parts = codec.layout.positions, windows_of(config, len(codec.layout.index))
    refining = refining_of(config.refine, codec.spec, codec.scale, population.images)

    def weights_of(codes: Tensor) -> Tensor:
        return codec.to_weights(joined(model.decode, codes, positions, parts))

    def codes_of(weights: Tensor) -> Tensor:
        codes = joined(model.encode, codec.to_tokens(weights), positions, parts)
        return refined(refining, weights_of, codes, weights) if refining else codes

    return _in_batches(codes_of, config.evaluation_batch), _in_batches(weights_of, config.evaluation_batch)


def _in_batches(run: Code, size: int) -> Code:
    """The same for any number of networks, without gradients."""

    @torch.no_grad()
    def of_all(values: Tensor) -> Tensor:
        return torch.cat([run(batch) for batch in values.split(size)])

    return of_all
