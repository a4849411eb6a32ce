"""A stack is its models: trained, measured and broken each as if alone."""

import pytest
import torch
import torch.nn.functional as F
import weightspace.ensemble
from weightspace.ensemble import Recipe, evaluate, outputs, total_loss, train_epoch, update, zero_moments
from weightspace.nets.forward import forward
from weightspace.nets.spec import build_spec

ARCHITECTURES = {
    "mlp": ["flatten", "linear 7", "activation", "linear classes"],
    "cnn": ["conv 3 3", "pool 2", "activation", "conv 4 2", "activation", "flatten", "linear 5", "activation", "linear classes"],
}
SPECS = {name: build_spec(layers, "tanh", (2, 6, 6), 3) for name, layers in ARCHITECTURES.items()}
NUM_MODELS, NUM_BATCHES, BATCH = 4, 6, 5

specs = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
optimizers = pytest.mark.parametrize("optimizer", ["adam", "sgd"])


def recipe_of(optimizer, rates=(0.01, 0.03, 0.002, 0.05), decays=(0.0, 0.1, 0.01, 0.5)):
    return Recipe(optimizer, 0.8, torch.tensor(rates), torch.tensor(decays))


def torch_optimizer(recipe, model, leaf):
    settings = {"lr": recipe.learning_rate[model].item(), "weight_decay": recipe.weight_decay[model].item()}
    if recipe.optimizer == "adam":
        return torch.optim.Adam([leaf], **settings)
    return torch.optim.SGD([leaf], momentum=recipe.momentum, **settings)


def batches_for(num_models):
    images = torch.randn(NUM_BATCHES, num_models, BATCH, 2, 6, 6)
    return list(zip(images, torch.randint(3, (NUM_BATCHES, num_models, BATCH)), strict=True))


def take(recipe, batches, rows):
    """The recipe and batches of some of the models."""
    recipe = recipe._replace(learning_rate=recipe.learning_rate[rows], weight_decay=recipe.weight_decay[rows])
    return recipe, [(images[rows], labels[rows]) for images, labels in batches]


def trained(spec, start, recipe, batches):
    weights = start.clone()
    steps = train_epoch(spec, weights, zero_moments(weights), recipe, iter(batches), 0)
    assert steps == len(batches)
    return weights


# training


@pytest.mark.usefixtures("float64")
@specs
@optimizers
def test_a_stack_trains_each_model_as_torchs_optimizer_trains_it_alone(spec, optimizer):
    recipe, batches = recipe_of(optimizer), batches_for(NUM_MODELS)
    start = torch.randn(NUM_MODELS, spec.num_weights) / 3
    stacked = trained(spec, start, recipe, batches)
    for model in range(NUM_MODELS):
        leaf = start[model].clone().requires_grad_()
        alone = torch_optimizer(recipe, model, leaf)
        for images, labels in batches:
            alone.zero_grad()
            F.cross_entropy(forward(spec, leaf[None], images[model][None])[0], labels[model]).backward()
            alone.step()
        assert not torch.allclose(leaf, start[model], atol=1e-3)
        torch.testing.assert_close(stacked[model], leaf.detach(), rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("float64")
@optimizers
def test_an_epoch_in_two_parts_is_the_epoch(optimizer):
    spec, recipe, batches = SPECS["cnn"], recipe_of(optimizer), batches_for(NUM_MODELS)
    start = torch.randn(NUM_MODELS, spec.num_weights) / 3
    weights = start.clone()
    moments = zero_moments(weights)
    step = train_epoch(spec, weights, moments, recipe, iter(batches[:2]), 0)
    assert train_epoch(spec, weights, moments, recipe, iter(batches[2:]), step) == NUM_BATCHES
    assert torch.equal(weights, trained(spec, start, recipe, batches))


@pytest.mark.usefixtures("float64")
@specs
def test_the_total_loss_gives_each_model_the_gradient_that_it_gets_alone(spec):
    weights = torch.randn(NUM_MODELS, spec.num_weights, requires_grad=True)
    images, labels = batches_for(NUM_MODELS)[0]
    (gradient,) = torch.autograd.grad(total_loss(forward(spec, weights, images), labels), weights)
    for model in range(NUM_MODELS):
        leaf = weights[model].detach().requires_grad_()
        (alone,) = torch.autograd.grad(F.cross_entropy(forward(spec, leaf[None], images[model][None])[0], labels[model]), leaf)
        torch.testing.assert_close(gradient[model], alone, rtol=1e-9, atol=1e-12)


@optimizers
def test_a_gradient_of_0_moves_nothing_but_by_decay(optimizer):
    weights = torch.randn(2, 5)
    before, zero = weights.clone(), torch.zeros(2, 5)
    update(weights, zero, zero_moments(weights), recipe_of(optimizer, (0.1, 0.1), (0.0, 0.5)), 1)
    assert torch.equal(weights[0], before[0])
    assert (weights[1].abs() < before[1].abs()).all()


# divergence


@specs
@optimizers
@pytest.mark.parametrize("break_it", ["learning rate 1e30", "weight nan"])
def test_a_model_that_diverges_leaves_the_others_bit_for_bit_as_they_are(spec, optimizer, break_it):
    recipe, batches = recipe_of(optimizer), batches_for(NUM_MODELS)
    start = torch.randn(NUM_MODELS, spec.num_weights) / 3
    healthy = trained(spec, start, recipe, batches)
    broken, rates = start.clone(), recipe.learning_rate.clone()
    if break_it == "weight nan":
        broken[1] = torch.nan
    else:
        rates[1] = 1e30
    others = torch.tensor([0, 2, 3])
    replaced = trained(spec, broken, recipe._replace(learning_rate=rates), batches)
    assert not replaced[1].isfinite().all() or replaced[1].abs().max() > 1e20
    assert torch.equal(replaced[others], healthy[others])
    assert torch.equal(trained(spec, start[others], *take(recipe, batches, others)), healthy[others])


# measuring


@pytest.mark.usefixtures("float64")
@specs
@pytest.mark.parametrize("chunk", [1, 20, 41, 10**6])
def test_outputs_do_not_depend_on_the_chunk(spec, chunk, monkeypatch):
    weights, images = torch.randn(NUM_MODELS, spec.num_weights), torch.randn(20, 2, 6, 6)
    whole = forward(spec, weights, images[None])
    monkeypatch.setattr(weightspace.ensemble, "CHUNK", chunk)
    torch.testing.assert_close(outputs(spec, weights, images), whole, rtol=1e-12, atol=1e-12)


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
