"""Augmentation: flips and crops are what slow loops make of each image."""

import torch
import torch.nn.functional as F
from weightspace.images.augment import FRAME, draw_moves, moved


def test_moved_images_are_flips_and_crops_from_a_frame_of_zeros():
    x = torch.randint(1, 256, (2, 40, 3, 5, 7), dtype=torch.uint8)
    moves = torch.stack([draw_moves(40, torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    for images, ours, own in zip(x, moved(x, moves), moves.tolist(), strict=True):
        for image, result, (flipped, top, left) in zip(images, ours, own, strict=True):
            frame = F.pad(image, (FRAME,) * 4)
            frame = frame.flip(2) if flipped else frame
            assert torch.equal(result, frame[:, top : top + 5, left : left + 7])


def test_moves_are_uniform():
    moves = draw_moves(9000, torch.Generator().manual_seed(0))
    for column, ends in zip(moves.unbind(1), (2, 9, 9), strict=True):
        counts = column.bincount(minlength=ends)
        assert len(counts) == ends
        assert ((counts - 9000 / ends).abs() < 5 * (9000 / ends) ** 0.5).all()


def test_the_middle_of_the_frame_is_the_image():
    x = torch.randint(0, 256, (1, 3, 1, 6, 6), dtype=torch.uint8)
    assert torch.equal(moved(x, torch.tensor([[[0, FRAME, FRAME]] * 3])), x)
    assert torch.equal(moved(x, torch.tensor([[[1, FRAME, FRAME]] * 3])), x.flip(4))
