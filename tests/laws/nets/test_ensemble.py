"""A stack is its models: run, measured and recalibrated each as if alone."""

import pytest
import torch
import weightspace.ensemble
from torch import nn
from weightspace.ensemble import evaluate, outputs, recalibrated
from weightspace.nets.forward import channels_last, forward, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import build_spec
from weightspace.nets.steps import Training

ARCHITECTURES = {
    "mlp": ["flatten", "linear 7", "activation", "linear classes"],
    "cnn": ["conv 3 3", "pool 2", "activation", "conv 4 2", "activation", "flatten", "linear 5", "activation", "linear classes"],
}
SPECS = {name: build_spec(layers, "tanh", (2, 6, 6), 3) for name, layers in ARCHITECTURES.items()}
NUM_MODELS = 4

specs = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


@pytest.mark.usefixtures("float64")
@specs
@pytest.mark.parametrize("chunk", [1, 1000, 5000, 10**6])
def test_outputs_do_not_depend_on_the_chunk(spec, chunk, monkeypatch):
    weights, images = torch.randn(NUM_MODELS, spec.num_weights), torch.randn(20, 2, 6, 6)
    whole = forward(spec, weights, images[None])
    monkeypatch.setattr(weightspace.ensemble, "CHUNK", {"cpu": chunk})
    torch.testing.assert_close(outputs(spec, weights, images), whole, rtol=1e-12, atol=1e-12)


def test_images_pass_in_parts_that_fit_the_caches(monkeypatch):
    spec, passed = build_spec(ARCHITECTURES["cnn"], "tanh", (1, 15, 15), 3), []
    monkeypatch.setattr(weightspace.ensemble, "forward", lambda *args: passed.append(len(args[2][0])) or forward(*args))
    monkeypatch.setattr(weightspace.ensemble, "CHUNK", {"cpu": 6 * NUM_MODELS * spec.num_mapped})
    outputs(spec, torch.randn(NUM_MODELS, spec.num_weights), torch.randn(20, 1, 15, 15))
    assert passed == [6, 6, 6, 2]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_channels_lie_last_whatever_their_number(channels):
    images = torch.randn(5, channels, 4, 6)
    laid = channels_last(images)
    assert torch.equal(laid, images)
    assert laid.stride() == (24 * channels, 1, 6 * channels, channels)


def test_outputs_ask_for_no_gradient():
    spec = SPECS["mlp"]
    assert not outputs(spec, torch.randn(2, spec.num_weights, requires_grad=True), torch.randn(3, 2, 6, 6)).requires_grad


@pytest.mark.usefixtures("float64")
@specs
def test_loss_and_accuracy_are_those_of_a_slow_loop(spec):
    weights, images, labels = torch.randn(NUM_MODELS, spec.num_weights), torch.randn(20, 2, 6, 6), torch.randint(3, (20,))
    loss, accuracy = evaluate(spec, weights, images, labels)
    for model in range(NUM_MODELS):
        logits = [forward(spec, weights[model][None], image[None, None])[0, 0] for image in images]
        each = [-logit.log_softmax(0)[label] for logit, label in zip(logits, labels, strict=True)]
        right = [int(logit.argmax()) == int(label) for logit, label in zip(logits, labels, strict=True)]
        torch.testing.assert_close(loss[model], torch.stack(each).mean())
        assert accuracy[model].item() == pytest.approx(sum(right) / 20)


@specs
def test_a_model_that_is_not_finite_has_a_loss_that_is_not(spec):
    weights = torch.randn(NUM_MODELS, spec.num_weights)
    weights[2, 5] = torch.nan
    loss, _ = evaluate(spec, weights, torch.randn(20, 2, 6, 6), torch.randint(3, (20,)))
    assert loss.isfinite().tolist() == [True, True, False, True]


# recalibration


LAYERS = ["conv 4 3", "batch_norm", "activation", "conv 6 3 1 2", "batch_norm", "activation", "flatten", "linear classes"]


def torch_net(spec, weights):
    """LAYERS as plain torch modules."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip
    with torch.no_grad():
        for tensor, ours in zip(tensors_of(net), unflatten(spec, weights).values(), strict=True):
            tensor.copy_(ours)
    return net


def tensors_of(net):
    return [tensor for name, tensor in net.state_dict().items() if "num_batches" not in name]


@pytest.mark.usefixtures("float64")
def test_recalibrated_networks_answer_in_use_as_in_training_on_the_same_images():
    spec = build_spec("resnet8", "relu", (1, 8, 8), 10)
    weights = torch.stack([initial_weights(spec, "kaiming_normal", torch.Generator().manual_seed(n), None) for n in (1, 2)])
    images = 3 * torch.randn(200, 1, 8, 8) + 1
    changed = recalibrated(spec, weights.double(), images)
    in_training = forward(spec, weights.double(), images.unsqueeze(0), training=Training({}))
    # variances in use are unbiased, over at least 200 * 4 values: at most 1/800 more
    torch.testing.assert_close(forward(spec, changed, images.unsqueeze(0)), in_training, rtol=0.01, atol=0.01)
    for name, before in unflatten(spec, weights.double()).items():
        assert torch.equal(unflatten(spec, changed)[name], before) != ("running" in name)


@pytest.mark.usefixtures("float64")
def test_recalibration_over_many_batches_is_torchs_cumulative_average(monkeypatch):
    monkeypatch.setattr(weightspace.ensemble, "RECALIBRATION_BATCH", 10)
    spec = build_spec(LAYERS, "relu", (1, 6, 6), 3)
    weights, images = torch.randn(2, spec.num_weights), torch.randn(40, 1, 6, 6)
    changed = recalibrated(spec, weights, images)
    for model in range(2):
        net = torch_net(spec, weights[model])
        torch.optim.swa_utils.update_bn(images.split(10), net)
        torch.testing.assert_close(changed[model], torch.cat([tensor.flatten() for tensor in tensors_of(net)]))


@pytest.mark.usefixtures("float64")
def test_recalibration_changes_nothing_where_statistics_are_right():
    spec = build_spec(LAYERS, "relu", (1, 6, 6), 3)
    images = torch.randn(50, 1, 6, 6)
    once = recalibrated(spec, torch.randn(2, spec.num_weights), images)
    assert torch.equal(recalibrated(spec, once, images), once)
