"""Originals: the networks that a cell chooses of a zoo, by their indices there, from disk."""

import pytest
import torch
from planted_predictors import planted_images, planted_networks, predictor_config
from planted_zoos import stored_zoo
from weightspace.chosen import ChosenNetworks
from weightspace.errors import InputError
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.parts import AVERAGED
from weightspace.predictor.artifact import save_artifacts
from weightspace.predictor.controls import small_trainees
from weightspace.predictor.kernels import layout_of
from weightspace.predictor.measure import evaluation_data, measure_predictors
from weightspace.predictor.orders import order_kernels
from weightspace.predictor.originals import read_originals, read_teachers, teachers_for
from weightspace.predictor.settings import SmallRecipe
from weightspace.predictor.train import PHASES, TrainedCell, make_task, train_predictors
from weightspace.store import TrainingState
from weightspace.table import Source

SPEC = build_spec(["conv 2 3", "activation", "flatten", "linear classes"], "relu", (1, 5, 5), 3)


@pytest.fixture
def zoo(tmp_path):
    """Five models at epochs 2 and 6, and the mean of the last ones, in two parts."""
    return stored_zoo(tmp_path / "five", SPEC, [2, 6], torch.randn(5, 3, SPEC.num_weights), [3, 2], averaged=True)


def test_originals_are_the_chosen_models_at_the_chosen_epoch(zoo):
    every = zoo.read(range(5), [2, 6])
    chosen = read_originals(zoo.path, ChosenNetworks(zoo="five", models=[3, 1], epoch=2))
    assert (chosen.spec, chosen.models) == (SPEC, [3, 1])
    assert torch.equal(chosen.weights, every[[3, 1], 0])
    plain = read_originals(zoo.path, ChosenNetworks(zoo="five"))
    assert plain.models == [0, 1, 2, 3, 4]
    assert torch.equal(plain.weights, every[:, 1])  # the last epoch, and no mean of epochs
    assert torch.equal(read_teachers(zoo.path).weights, plain.weights)


def test_teachers_are_used_again_in_turn(zoo):
    taught = teachers_for(read_teachers(zoo.path), 7, torch.device("cpu"))
    assert torch.equal(taught.weights, zoo.read([0, 1, 2, 3, 4, 0, 1], [6])[:, 0])


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, 3e37])
def test_originals_that_diverged_are_one_sentence(tmp_path, broken):
    weights = torch.randn(5, 1, SPEC.num_weights)
    weights[[1, 4], 0, 0] = broken
    path = stored_zoo(tmp_path / "zoo", SPEC, [6], weights).path
    with pytest.raises(InputError, match="^zoo 'five': models 1, 4 diverged, or lack epoch 6: "):
        read_originals(path, ChosenNetworks(zoo="five"))
    with pytest.raises(InputError, match="^zoo 'five': model 4 diverged, or lacks epoch 6: "):
        read_originals(path, ChosenNetworks(zoo="five", models=[3, 4]))
    assert read_originals(path, ChosenNetworks(zoo="five", models=[0, 3])).models == [0, 3]


WRONG = {
    "epoch": ({"epoch": 3}, "zoo 'five' keeps epochs 2, 6, not 3"),
    "model": ({"models": [0, 5]}, "zoo 'five' has models 0 to 4, no 5"),
}


@pytest.mark.parametrize(("changes", "told"), WRONG.values(), ids=WRONG)
def test_what_a_zoo_lacks_is_named(zoo, changes, told):
    with pytest.raises(InputError, match=told):
        read_originals(zoo.path, ChosenNetworks(zoo="five", **changes))


def test_a_zoo_without_mean_weights_says_so(tmp_path):
    zoo = stored_zoo(tmp_path / "zoo", SPEC, [2, 6], torch.randn(2, 2, SPEC.num_weights))
    with pytest.raises(InputError, match="has weights of epochs 2, 6, not of averaged"):
        zoo.checkpoints([(0, AVERAGED)])


@pytest.mark.slow
def test_predictors_files_and_rows_of_some_models_are_those_that_they_have_among_all(tmp_path):
    """A model's draws, rows and files are named by its index in the zoo, whoever else is chosen."""
    spec, weights = planted_networks("plain", 3)
    path, found = stored_zoo(tmp_path / "zoo", spec, [20], weights[:, :1]).path, {}
    for name, models in (("some", [2, 0]), ("all", None)):
        config, folder = predictor_config(models=models), tmp_path / name
        originals = read_originals(path, config)
        rank = order_kernels(originals, layout_of(spec.shapes, None, False), config.order)
        task = make_task(config, originals, rank, torch.device("cpu"))
        states = {phase: TrainingState(folder / phase, "key") for phase in PHASES}
        predicted = train_predictors({"any": TrainedCell(config, task)}, None, None, states)["any"][0]
        networks = save_artifacts(config, task, predicted, folder)
        data = evaluation_data(config, originals, rank, planted_images())
        rows = measure_predictors(Source("planted", "predictor", "any", 0), config, predicted, data, networks, folder)
        assert {row["subject"] for row in rows} == {str(model) for model in originals.models}
        assert sorted(file.name for file in folder.glob("original-*")) == [
            f"original-{n}.safetensors" for n in sorted(originals.models)
        ]
        found[name] = {model: unflatten(spec, networks[n]) for n, model in enumerate(originals.models)}
    for model in (0, 2):
        for parameter, values in found["some"][model].items():
            torch.testing.assert_close(values, found["all"][model][parameter], rtol=0, atol=1e-4)


def test_small_networks_have_each_the_init_rate_and_decay_of_its_original():
    lists = {"inits": ["normal", "uniform"], "learning_rates": [0.1, 0.2], "weight_decays": [0.0, 0.3]}
    recipe = SmallRecipe(images="planted", architecture=["flatten", "linear classes"], epochs=2, **lists)
    trainees = small_trainees(recipe, ("small", "any", 0), [4, 1])
    own = [(each.init, each.learning_rate, each.weight_decay) for each in trainees]
    assert own == [("normal", 0.1, 0.0), ("uniform", 0.2, 0.3)]
    assert [each.start[-1] for each in trainees] == [4, 1]
