"""Teachers: what a made-up one promises of its outputs and units, and that one of a zoo is what it says."""

from itertools import combinations

import pytest
import torch
from corner_images import planted_images
from planted_zoos import stored_zoo
from weightspace.errors import InputError
from weightspace.images.tensors import normalize
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import build_spec
from weightspace.recovery.settings import OnnxTeacher, SyntheticTeachers, ZooTeachers
from weightspace.recovery.teachers import (
    Teachers,
    answers,
    cube,
    make_teachers,
    read_teachers,
    synthetic_teachers,
    with_learned,
    write_teachers,
    zoo_teachers,
)

LINEAR = ["flatten", "linear 6", "activation", "linear classes"]


def synthetic(name="made", **changes):
    return synthetic_teachers(SyntheticTeachers(**{"kind": "synthetic", "inputs": 3, "hidden": [5], "num": 3} | changes), name)


# made up


@pytest.mark.parametrize("family", ["discrete", "gaussian"])
@pytest.mark.parametrize("changes", [{}, {"outputs": 3}, {"hidden": [5, 4, 6]}, {"activation": "tanh"}], ids=str)
def test_a_made_up_teachers_outputs_have_mean_0_and_variance_1_on_the_cube(family, changes):
    x = cube(50_000, (3, 1, 1), torch.Generator().manual_seed(1))
    for answer in answers(synthetic(family=family, **changes)):
        y = answer(x)
        assert y.dtype == torch.float64
        assert y.mean(0).abs().max() < 0.06
        assert abs(float(y.var(0).mean()) - 1) < 0.06


@pytest.mark.parametrize("hidden", [[20], [20, 6]])
def test_discrete_units_are_of_the_lattice_and_differ_by_more_than_sign(hidden):
    teachers = synthetic(inputs=2, hidden=hidden)  # 20 are all that there are for 2 inputs
    parameters = unflatten(teachers.spec, teachers.weights)
    for place, layer in enumerate(teachers.spec.layers[:-1]):
        scale = layer.fan_in[0] ** 0.5 if place else 1
        weight, bias = parameters[f"{layer.name}.weight"] * scale, parameters[f"{layer.name}.bias"] * 3
        torch.testing.assert_close(weight, weight.round(), rtol=0, atol=1e-12)
        torch.testing.assert_close(bias, bias.round(), rtol=0, atol=1e-12)
        assert weight.abs().max() < 1.1
        assert weight.abs().amax(-1).min() > 0.9
        assert bias.abs().max() < 2.1
        for units in torch.cat([weight, bias.unsqueeze(-1)], dim=-1):
            assert all((a - b).abs().max() > 0.5 and (a + b).abs().max() > 0.5 for a, b in combinations(units, 2))
    outgoing = parameters[f"{teachers.spec.layers[-1].name}.weight"].flatten(1).abs()
    torch.testing.assert_close(outgoing, outgoing[:, :1].expand_as(outgoing))


def test_no_outgoing_weight_of_a_gaussian_teacher_is_near_0():
    teachers = synthetic(family="gaussian", hidden=[40], num=20)
    outgoing = unflatten(teachers.spec, teachers.weights)["linear2.weight"].abs().flatten(1)
    assert (outgoing / outgoing.amax(1, keepdim=True)).min() > 0.02


def test_a_made_up_teacher_hangs_on_its_cell_and_index_alone():
    few, many = synthetic(num=2).weights, synthetic(num=4).weights
    torch.testing.assert_close(many[:2], few, rtol=0, atol=0)
    assert len(set(map(tuple, many.tolist()))) == 4
    assert not torch.equal(synthetic("other", num=2).weights, few)


# that have learned


def test_classifiers_that_have_not_learned_are_named(capsys):
    """One that knows what each image is, one that knows what it is not, one that answers all images alike."""
    images = planted_images()
    spec = build_spec(LINEAR[:1] + LINEAR[-1:], "relu", images.train_x.shape[1:], 3)
    weights = least_squares(spec, images) * torch.tensor([[1.0], [-1.0], [0.0]])
    assert with_learned(Teachers(spec, weights, [True] * 3), images).learned == [True, False, False]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("teacher ")]
    assert ["it has not learned" in line for line in told] == [False, True, True]


def least_squares(spec, images):
    """A linear classifier fitted to the labels."""
    x = normalize(images.train_x, images).flatten(1).double()
    ones = torch.nn.functional.one_hot(images.train_y, 3).double()
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1), ones - 1 / 3).solution
    return torch.cat([solution[:-1].T.flatten(), solution[-1]]).unsqueeze(0)


# from a zoo


@pytest.fixture
def zoo(tmp_path):
    """Five models at epochs 0 and 2, in two parts."""
    spec = build_spec(LINEAR, "tanh", (1, 4, 4), 3)
    return stored_zoo(tmp_path / "zoo", spec, [0, 2], torch.randn(5, 2, spec.num_weights), [3, 2])


def zoo_config(**changes):
    return ZooTeachers(**{"kind": "zoo", "zoo": "tiny", "models": [3, 1], "epoch": 2} | changes)


def test_zoo_teachers_are_the_named_models_in_order(zoo):
    expected = zoo.read(range(5), [0, 2])[[3, 1], 1].double()
    torch.testing.assert_close(zoo_teachers(zoo_config(), zoo).weights, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"epoch": 1}, "'tiny' keeps epochs 0, 2, not 1"), ({"models": [0, 5]}, "'tiny' has models 0 to 4, no 5")],
    ids=str,
)
def test_a_model_or_epoch_that_the_zoo_lacks_is_named(changes, told, zoo):
    with pytest.raises(InputError, match=told):
        zoo_teachers(zoo_config(**changes), zoo)


def test_of_a_zoo_that_is_named_alone_all_models_are_teachers_at_the_last_epoch(zoo):
    every = zoo.read(range(5), [2])[:, 0].double()
    assert torch.equal(zoo_teachers(ZooTeachers(kind="zoo", zoo="tiny"), zoo).weights, every)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, 3e37])
def test_a_diverged_model_is_no_teacher(broken, zoo, tmp_path):
    weights = zoo.read(zoo.models, zoo.epochs)
    weights[1, 1, 0] = broken
    with pytest.raises(InputError, match="model 1 diverged"):
        zoo_teachers(zoo_config(), stored_zoo(tmp_path / "broken", zoo.spec, zoo.epochs, weights))


def test_networks_that_are_no_chains_are_no_teachers(tmp_path):
    """Which of an imported zoo its files alone may tell."""
    spec = build_spec(["conv 2 3", "batch_norm", "activation", "flatten", "linear classes"], "relu", (1, 4, 4), 3)
    with pytest.raises(InputError, match="zoo 'tiny': recovery reads chains without batch norm"):
        zoo_teachers(zoo_config(), stored_zoo(tmp_path / "norms", spec, [2], torch.ones(5, 1, spec.num_weights)))


# all kinds


def test_make_teachers_makes_each_kind(zoo):
    small = planted_images()
    small = small._replace(train_x=small.train_x[..., :4, :4])
    made = SyntheticTeachers(kind="synthetic", inputs=3, hidden=[5], num=3)
    torch.testing.assert_close(make_teachers(made, "made", None, None).weights, synthetic().weights)
    member = make_teachers(zoo_config(), "zooed", small, zoo)
    torch.testing.assert_close(member.weights, zoo.read([3, 1], [2])[:, 0].double())
    box = make_teachers(OnnxTeacher(kind="onnx", path="a.onnx"), "box", None, None)
    assert box.spec is None
    assert box.weights.shape == (1, 0)


@pytest.mark.parametrize("kind", ["network", "black box"])
def test_teachers_survive_their_file(tmp_path, kind):
    box = make_teachers(OnnxTeacher(kind="onnx", path="a.onnx"), "box", None, None)
    teachers = synthetic(hidden=[3, 2]) if kind == "network" else box
    write_teachers(tmp_path / "teachers", teachers)
    found = read_teachers(tmp_path / "teachers")
    assert found.spec == teachers.spec
    assert found.learned == teachers.learned
    torch.testing.assert_close(found.weights, teachers.weights, rtol=0, atol=0)


def test_answers_are_each_teachers_own_raw_outputs_in_float64():
    teachers = synthetic(hidden=[4, 3], outputs=2)
    x = torch.randn(7, 3, 1, 1, dtype=torch.float64)
    expected = forward(teachers.spec, teachers.weights, x.unsqueeze(0))
    torch.testing.assert_close(torch.stack([answer(x) for answer in answers(teachers)]), expected, rtol=1e-13, atol=1e-13)
