"""Fine-tuning as one stack: what each network would become alone."""

from contextlib import suppress

import pytest
import torch
import weightspace.generation.finetune
from corner_images import planted_images
from planted_codes import SPEC, coded_zoo
from weightspace.ensemble import evaluate
from weightspace.generation.finetune import accuracies, fine_tune
from weightspace.generation.settings import FineTuneConfig
from weightspace.images.tensors import normalize
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import build_spec
from weightspace.store import TrainingState

NORMED = build_spec(["conv 4 3", "batch_norm", "activation", "flatten", "linear classes"], "relu", (1, 6, 6), 3)
CONFIG = FineTuneConfig(epochs=[0, 1, 3], batch_size=8, learning_rate=0.01)


class EverySave(TrainingState):
    """A state that is saved whenever it can be."""

    def save_if_due(self, tensors, **metadata):
        self.next_save = 0.0
        super().save_if_due(tensors, **metadata)


def networks(spec=SPEC, num=5):
    generator = torch.Generator().manual_seed(2)
    return torch.stack([initial_weights(spec, "kaiming_normal", generator) for _ in range(num)])


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
@pytest.mark.parametrize("spec", [SPEC, NORMED], ids=["plain", "batch norm"])
def test_a_stack_becomes_what_each_network_becomes_alone(spec, schedule):
    config, weights = CONFIG.model_copy(update={"schedule": schedule}), networks(spec, 3)
    together = fine_tune(spec, weights, planted_images(), config, 4)
    for n, one in enumerate(weights):
        alone = fine_tune(spec, one.unsqueeze(0), planted_images(), config, 4)
        torch.testing.assert_close(alone.weights[0], together.weights[n], rtol=1e-3, atol=1e-5)
    assert (together.weights[:, -1] - weights).abs().max() > 0.01


def test_networks_begin_as_they_are_and_learn():
    weights, images = networks(num=8), planted_images()
    config = CONFIG.model_copy(update={"epochs": [0, 2, 15], "learning_rate": 0.05})
    tuned = fine_tune(SPEC, weights, images, config, 4)
    assert torch.equal(tuned.weights[:, 0], weights)
    for n in range(3):
        measured = accuracies(SPEC, images, tuned.weights[:, n])
        assert torch.equal(torch.stack([tuned.val_accuracy[:, n], tuned.test_accuracy[:, n]], 1), measured)
    x = normalize(images.train_x, images)
    before, after = (evaluate(SPEC, tuned.weights[:, n], x, images.train_y)[0] for n in (0, 2))  # losses
    assert (after < before / 2).all()


def test_all_see_the_same_images_in_the_same_order_which_the_seed_gives():
    twice = networks(num=1).repeat(2, 1)
    one, other = fine_tune(SPEC, twice, planted_images(), CONFIG, 4).weights[:, -1]
    torch.testing.assert_close(one, other)
    assert not torch.equal(fine_tune(SPEC, twice, planted_images(), CONFIG, 5).weights[0, -1], one)


def test_a_killed_fine_tuning_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    images, weights = planted_images(), networks()
    whole = fine_tune(SPEC, weights, images, CONFIG, 4)
    state, calls = EverySave(tmp_path / "state", "key"), []

    def killed(*about):
        calls.append(about)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return accuracies(*about)

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(weightspace.generation.finetune, "accuracies", killed)
        fine_tune(SPEC, weights, images, CONFIG, 4, state)
    assert state.load()[1]["epoch"] == 2  # the last epoch was trained and not saved
    again = fine_tune(SPEC, weights, images, CONFIG, 4, state)
    for one, other in zip(again, whole, strict=True):
        assert torch.equal(one, other)


def test_networks_given_to_be_tuned_are_left_as_they_are():
    weights = coded_zoo().train
    before = weights.clone()
    fine_tune(SPEC, weights, planted_images(), CONFIG, 4)
    assert torch.equal(weights, before)
