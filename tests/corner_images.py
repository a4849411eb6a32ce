"""A planted image set: three classes that differ in the brightness of a corner."""

import torch
from weightspace.images.tensors import ImageSet


def planted_images(val=12):
    """Three classes that differ in the brightness of a corner."""
    generator = torch.Generator().manual_seed(1)
    tensors = []
    for num in (30, val, 12):
        y = torch.arange(num) % 3
        x = torch.randint(0, 100, (num, 1, 6, 6), generator=generator)
        x[:, :, :3, :3] += 60 * y.view(-1, 1, 1, 1)
        tensors += [x.to(torch.uint8), y]
    return ImageSet(*tensors, mean=(0.2,), std=(0.15,), classes=["a", "b", "c"], source="planted", source_sha256="0")
