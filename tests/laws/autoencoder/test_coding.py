"""What an autoencoder hands over: its networks, and its code of them, which is that of its evaluation."""

import pandas as pd
import pyarrow as pa
import pytest
import torch
from planted_zoos import stored_zoo
from test_autoencoder import SPEC, checkpoints_of, config_of, planted_images, planted_weights, run
from weightspace.autoencoder.coding import coded_zoo
from weightspace.autoencoder.data import Population
from weightspace.autoencoder.evaluate import reconstruct
from weightspace.autoencoder.problem import autoencoder_data
from weightspace.autoencoder.refine import refining_of
from weightspace.autoencoder.settings_within import RefineConfig
from weightspace.autoencoder.store import read_autoencoder, write_autoencoder
from weightspace.autoencoder.windows import windows_of
from weightspace.errors import InputError

SPLITS = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
CPU = torch.device("cpu")


def population(tmp_path):
    """Ten networks at epochs 3 and 5."""
    weights = torch.stack([planted_weights(), planted_weights()], dim=1)
    zoo = stored_zoo(tmp_path / "zoo", SPEC, [3, 5], weights)
    rows = [(model, epoch, split, "a", False) for model, split in enumerate(SPLITS) for epoch in (3, 5)]
    table = pd.DataFrame(rows, columns=["model", "epoch", "split", "init_tensor", "diverged"])
    return Population("planted", zoo, pa.Table.from_pandas(table), planted_images()), weights


def stored(tmp_path, **changes):
    problem = autoencoder_data(config_of(**changes), SPEC, checkpoints_of(planted_weights()), planted_images())
    write_autoencoder(tmp_path / "model", [problem], run(problem, tmp_path / "state")[1], 0)
    return read_autoencoder(tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"window": 7, "halo": 2}, {"refine": RefineConfig(steps=2, num_queries=4, query_pool=9)}]
)
def test_a_decoded_code_is_the_reconstruction_of_the_evaluation(tmp_path, changes):
    (zoo, weights), autoencoders = population(tmp_path), stored(tmp_path, **changes)
    coded, own = coded_zoo(autoencoders, [zoo], None, None, CPU), autoencoders["planted"]
    assert torch.equal(coded.train, weights[:5, 1])
    assert torch.equal(coded.held_out, weights[7:, 1])
    assert coded.anchors.tolist() == [0, 1, 2, 3, 4]
    parts = windows_of(own.config, len(own.codec.layout.index))
    refining = refining_of(own.config.refine, SPEC, own.codec.scale, zoo.images)
    rebuilt = reconstruct(own.codec, own.trained, coded.train, own.config.evaluation_batch, parts, refining)
    codes = coded.encode(coded.train)
    torch.testing.assert_close(coded.decode(codes), rebuilt.weights)
    assert not coded.decode(codes).requires_grad


@pytest.mark.slow
def test_anchors_may_be_of_another_epoch_than_the_autoencoders_last(tmp_path):
    (zoo, weights), autoencoders = population(tmp_path), stored(tmp_path)
    coded = coded_zoo(autoencoders, [zoo], "planted", 3, CPU)
    assert torch.equal(coded.train, weights[:5, 0])
    assert set(coded.train_properties["epoch"]) == {3}
    with pytest.raises(InputError, match="zoo 'planted' has no images to choose networks by"):
        coded_zoo(autoencoders, [zoo._replace(images=None)], None, None, CPU)
