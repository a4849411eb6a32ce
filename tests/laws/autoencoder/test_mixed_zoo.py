"""An autoencoder over a zoo of two activations: weights are one population, and each network answers by its own activation."""

import pyarrow as pa
import pytest
import torch
from test_autoencoder import EPOCHS, LAYERS, SOURCE, SPEC, config_of, planted_images
from torch import nn
from weightspace.autoencoder.baselines import evaluate_baseline
from weightspace.autoencoder.batches import Sequences
from weightspace.autoencoder.data import Population, checkpoints_by_split
from weightspace.autoencoder.evaluate import evaluate_autoencoder
from weightspace.autoencoder.losses import Step, behavior_loss
from weightspace.autoencoder.problem import autoencoder_data
from weightspace.autoencoder.refine import Refining, refined
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.autoencoder.settings_within import RefineConfig
from weightspace.autoencoder.store import Stored
from weightspace.autoencoder.train import train_autoencoder
from weightspace.checkpoints import ZooWriter, read_zoo
from weightspace.images.tensors import normalize
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.store import TrainingState
from weightspace.tokens import identity_scale

CPU = torch.device("cpu")
RELU = build_spec(LAYERS, "relu", (1, 6, 6), 3)
SPLITS = ["train", "train", "val", "test", "test", "train", "train", "val", "test", "test", "train", "val"]
BEHAVIOR = {"structure_weight": 0.5, "behavior_weight": 0.5}


def population(folder, other):
    """Twelve models; `other` have specs of their own."""
    weights = torch.randn(len(SPLITS), len(EPOCHS), SPEC.num_weights, generator=torch.Generator().manual_seed(5)) / 2
    writer = ZooWriter(folder, SPEC, EPOCHS, 0.5, other=other)
    for model in range(len(SPLITS)):  # each in a part of its own
        writer.write([model], unflatten(SPEC, weights[model : model + 1]))
    rows = [
        {"model": model, "epoch": epoch, "split": split, "diverged": False, "init_tensor": "a", "train_accuracy": 0.9,
         "test_accuracy": model / 100, "generalization_gap": model / 50 - epoch}
        for model, split in enumerate(SPLITS) for epoch in EPOCHS
    ]  # fmt: skip
    writer.finish()
    return Population("planted", read_zoo(folder), pa.Table.from_pylist(rows), planted_images())


ODD = dict.fromkeys(range(1, len(SPLITS), 2), RELU)


def plain_answers(zoo, model, images):
    """What an ordinary nn.Module with the model's own activation says at the last epoch."""
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[zoo.spec_of(model).activation]
    network = nn.Sequential(nn.Conv2d(1, 20, 3), activation(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(80, 6), activation(),
                            nn.Linear(6, 3))  # fmt: skip
    nn.utils.vector_to_parameters(zoo.checkpoints([(model, EPOCHS[-1])])[0], network.parameters())
    return network(images)


def trained_on(each, tmp_path, **changes):
    splits = checkpoints_by_split(config_of(**changes), each, CPU)
    data = autoencoder_data(config_of(**changes), each.zoo.spec, splits["train"], each.images)
    model = train_autoencoder([data], SOURCE, TrainingState(tmp_path / "state", "run")).model
    return data, splits, Stored(data.config, data.codec, model, model)


def values_of(rows, metric):
    return {int(row["subject"]): row["value"] for row in rows if row["metric"] == metric}


def test_targets_are_each_networks_own_answers(tmp_path):
    each = population(tmp_path / "zoo", ODD)
    splits = checkpoints_by_split(config_of(epochs=[EPOCHS[-1]]), each, CPU)
    data = autoencoder_data(config_of(**BEHAVIOR, epochs=[EPOCHS[-1]]), SPEC, splits["train"], each.images)
    for target, model in zip(data.targets, splits["train"].models, strict=True):
        torch.testing.assert_close(target, plain_answers(each.zoo, model, data.queries), rtol=1e-4, atol=1e-5)
    assert [spec.activation for spec in data.specs] == [each.zoo.spec_of(model).activation for model in splits["train"].models]


@pytest.mark.slow
def test_what_is_measured_of_a_network_is_measured_with_its_own_activation(tmp_path):
    each = population(tmp_path / "zoo", ODD)
    _, splits, stored = trained_on(each, tmp_path, **BEHAVIOR, steps=3, window=None)
    test = normalize(each.images.test_x, each.images)
    rows = evaluate_autoencoder(stored, splits, each.images, SOURCE)
    found = values_of(rows, "accuracy_original")
    for model, accuracy in found.items():
        answers = plain_answers(each.zoo, model, test).argmax(1)
        assert accuracy == pytest.approx(float((answers == each.images.test_y).float().mean()))
    same = evaluate_baseline(BaselineConfig(zoo="planted", kind="identity", epochs=[3, 5]), each, SOURCE, CPU)
    assert values_of(same, "agreement_own") == dict.fromkeys(found, 1.0)
    assert values_of(same, "accuracy_original") == found


@pytest.mark.slow
def test_specs_of_models_that_are_the_zoos_change_nothing(tmp_path):
    """Training, evaluation with refined codes and the linear code."""
    found = []
    refine = {"steps": 2, "behavior_weight": 0.1, "query_pool": 6, "num_queries": 6}
    for name, other in {"plain": {}, "said": dict.fromkeys(ODD, SPEC)}.items():
        each = population(tmp_path / name, other)
        _, splits, stored = trained_on(each, tmp_path / name, **BEHAVIOR, steps=4, evaluation_batch=3, refine=refine)
        baseline = BaselineConfig(zoo="planted", kind="pca", epochs=[3, 5], numbers=2, refine=refine)
        rows = evaluate_autoencoder(stored, splits, each.images, SOURCE) + evaluate_baseline(baseline, each, SOURCE, CPU)
        found.append({(row["metric"], row["subject"], n): row["value"] for n, row in enumerate(rows)})
    assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("distance", ["softmax_mse", "logit_mse", "distillation"])
def test_the_behavioral_loss_of_a_mixed_batch_is_the_mean_over_its_networks(tmp_path, views, distance):
    each = population(tmp_path / "zoo", ODD)
    config = config_of(**BEHAVIOR, behavior_distance=distance)
    data = autoencoder_data(config, SPEC, checkpoints_by_split(config, each, CPU)["train"], each.images)
    decoded = data.codec.to_tokens(data.weights[:4].repeat(views, 1)) + 0.1 * torch.randn(
        4 * views, *data.codec.layout.index.shape
    )
    rebuilt = Sequences(decoded, data.codec.layout.positions, data.codec.layout.mask)

    def loss_of(kept, specs):
        places = [view * 4 + n for view in range(views) for n in kept]
        codec = data.codec._replace(spec=specs[0])
        return behavior_loss(
            Step(config, codec, None, decoded, rebuilt, decoded[places], data.queries, data.targets[kept], specs=specs)
        )

    alone = [loss_of([n], [data.specs[n]]) for n in range(4)]
    assert {spec.activation for spec in data.specs[:4]} == {"relu", "tanh"}
    torch.testing.assert_close(loss_of(range(4), data.specs[:4]), torch.stack(alone).mean())


def test_codes_of_networks_of_both_activations_are_refined_as_each_alone():
    """By behavior: with one activation for all, half of them would be refined towards another function."""
    images, generator = normalize(planted_images().train_x, planted_images())[:8], torch.Generator().manual_seed(2)
    basis = torch.randn(SPEC.num_weights, 5, generator=generator) / SPEC.num_weights**0.5
    weights = torch.randn(4, SPEC.num_weights, generator=generator) / 2
    settings = RefineConfig(steps=3, structure_weight=0.0, behavior_weight=1.0, query_pool=8, num_queries=8)
    refining = Refining(settings, SPEC, identity_scale(SPEC), images, [SPEC, RELU, SPEC, RELU])
    whole = refined(refining, lambda codes: codes @ basis.T, weights @ basis, weights)
    for n, spec in enumerate(refining.specs):
        own = refining._replace(spec=spec, specs=None)
        alone = refined(own, lambda codes: codes @ basis.T, weights[n : n + 1] @ basis, weights[n : n + 1])
        torch.testing.assert_close(whole[n], alone[0], rtol=1e-3, atol=1e-4)


def test_checkpoints_of_an_epoch_keep_their_specs(tmp_path):
    each = population(tmp_path / "zoo", ODD)
    split = checkpoints_by_split(config_of(), each, CPU)["test"]
    for epoch in (3, 5):
        own = split.at_epoch(epoch)
        assert [spec.activation for spec in own.specs] == [each.zoo.spec_of(model).activation for model in own.models]
