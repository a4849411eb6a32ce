"""Where test models lie in an autoencoder's embedding, in two numbers each, to be seen."""

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float64

from weightspace.autoencoder.data import Population, checkpoints_by_split
from weightspace.autoencoder.evaluate import codec_of
from weightspace.autoencoder.features import embeddings_of
from weightspace.autoencoder.metrics import EMBEDDINGS_SCHEMA
from weightspace.autoencoder.settings import cells_of
from weightspace.autoencoder.store import Stored
from weightspace.table import Source


@torch.no_grad()
def embeddings_table(autoencoders: dict[str, Stored], zoos: list[Population], source: Source, device: torch.device) -> pa.Table:
    """One row per test checkpoint and encoder, trained or untrained, of each zoo: see EMBEDDINGS_SCHEMA.

    The two numbers are the first two principal components over these checkpoints; nothing is fitted or chosen on them.
    """
    cells, rows = cells_of(source.cell, list(autoencoders)), []
    for each in zoos:
        stored = autoencoders[each.name]
        test = checkpoints_by_split(stored.config, each, device, ["test"])["test"]
        codec, known = codec_of(stored, test.weights), test.properties
        about = {**source._asdict(), "cell": cells[each.name]}
        for encoder in ("trained", "untrained"):
            embeddings = embeddings_of(codec, getattr(stored, encoder), test.weights, stored.config)
            places, shares = first_two(embeddings.double().numpy(force=True))
            for row, (x, y) in zip(known.to_dict("records"), places.tolist(), strict=True):
                accuracy = row.get("test_accuracy")
                rows.append({
                    **about, "encoder": encoder, "subject": str(row["model"]), "at": row["epoch"],
                    "test_accuracy": None if accuracy is None or np.isnan(accuracy) else accuracy,
                    "x": x, "y": y, "x_share": shares[0], "y_share": shares[1],
                })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=EMBEDDINGS_SCHEMA)


def first_two(values: Float64[np.ndarray, "n number"]) -> tuple[Float64[np.ndarray, "n 2"], list[float]]:
    """The first two principal components, and their shares of the variance.

    Each has the sign in which the largest number of its direction is positive; where there is none it is 0.
    """
    centered = values - values.mean(0)
    _, singular, directions = np.linalg.svd(centered, full_matrices=False)
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1)
    places = centered @ (directions * np.where(largest < 0, -1, 1)).T[:, :2]
    shares = np.square(singular) / max(np.square(singular).sum(), np.finfo(float).tiny)
    missing = 2 - places.shape[1]
    return np.pad(places, ((0, 0), (0, max(0, missing)))), [*shares.tolist(), 0.0, 0.0][:2]
