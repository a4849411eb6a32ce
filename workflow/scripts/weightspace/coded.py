"""Networks of a zoo and an autoencoder's code of them: what the autoencoder hands to whatever stands on it."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.images.tensors import ImageSet
from weightspace.nets.spec import NetSpec


class CodedZoo(NamedTuple):
    """Networks at one epoch, by split, with what encodes and decodes networks like them; all tensors lie on one device.

    Networks are as the autoencoder sees them: aligned where it aligns. Functions take any number of networks, and are not
    differentiated.
    """

    spec: NetSpec
    train: Float[Tensor, "model weight"]
    train_properties: pd.DataFrame  # one row per network of `train`: model, init, val_accuracy, test_accuracy, …
    held_out: Float[Tensor, "other weight"]  # test models, which neither the autoencoder nor a generator has seen
    held_out_properties: pd.DataFrame
    images: ImageSet  # choices are made by the val images, reports by the test images
    anchors: Int[Tensor, " anchor"]  # places in `train` of the networks that new ones are made from
    encode: Callable[[Float[Tensor, "model weight"]], Float[Tensor, "model token feature"]]
    decode: Callable[[Float[Tensor, "model token feature"]], Float[Tensor, "model weight"]]  # running statistics at their start
    with_statistics: Callable[[Float[Tensor, "model weight"]], Float[Tensor, "model weight"]]  # conditioned on val images

    @property
    def anchor_weights(self) -> Float[Tensor, "anchor weight"]:
        return self.train[self.anchors]
