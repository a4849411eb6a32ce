"""Augmentation on the device: flips, and crops from a frame of zeros."""

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Generator, Tensor

FRAME = 4  # black pixels around an image that is cropped


def draw_moves(num: int, generator: Generator) -> Int64[Tensor, "image 3"]:
    """For each image whether it is flipped, and where its crop begins in the frame: row, column."""
    ends = (2, 2 * FRAME + 1, 2 * FRAME + 1)
    return torch.stack([torch.randint(end, (num,), generator=generator) for end in ends], dim=1)


def moved(
    x: UInt8[Tensor, "model batch channel height width"], moves: Int64[Tensor, "model batch 3"]
) -> UInt8[Tensor, "model batch channel height width"]:
    """Each image flipped or not, then cropped to its size from a frame of FRAME zeros."""
    *_, channels, height, width = x.shape
    flipped, top, left = moves.unsqueeze(3).unbind(2)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    columns = torch.where(flipped == 1, width + 2 * FRAME - 1 - columns, columns)
    framed = F.pad(x, (FRAME, FRAME, FRAME, FRAME)).flatten(3)
    pixels = rows.unsqueeze(3) * (width + 2 * FRAME) + columns.unsqueeze(2)
    return framed.gather(3, pixels.flatten(2).unsqueeze(2).expand(-1, -1, channels, -1)).view_as(x)
