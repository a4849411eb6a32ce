"""scikit-learn's bundled handwritten digits."""

from hashlib import sha256

import numpy as np
import torch

from weightspace.images.labeled import Labeled, Source, hold_out, shuffled_rows
from weightspace.images.settings import ImagesConfig


def read_digits(config: ImagesConfig) -> Source:
    """The digits, split into train and test; levels 0 to 16 become round(level * 255 / 16)."""
    from sklearn.datasets import load_digits  # here, not above: it takes a second that only this rule has to pay

    digits = load_digits()
    levels = digits.images.astype(np.int64)
    x, y = ((levels * 255 + 8) // 16).astype(np.uint8), digits.target.astype(np.int64)
    every = Labeled(torch.from_numpy(x).unsqueeze(1), torch.from_numpy(y)).take(shuffled_rows(len(y), config.limit, "digits"))
    train, test = hold_out(every, config.test_share, "test", "bundled_digits")
    digest = sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
    names = [str(label) for label in range(config.num_classes)]
    return Source(train, test, names, "bundled_digits", "bundled_digits", digest)
