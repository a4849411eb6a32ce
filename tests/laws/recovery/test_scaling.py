"""Networks of scaled queries and answers are, in the teacher's units, networks of raw ones."""

import pytest
import torch
from weightspace.nets.forward import forward
from weightspace.nets.spec import build_spec
from weightspace.recovery.queries import Queries
from weightspace.recovery.scaling import in_teacher_units, scaling_of

SPECS = {
    "mlp": build_spec(["flatten", "linear 4", "activation", "linear 3", "activation", "linear classes"], "g", (3, 4, 4), 2),
    "conv": build_spec(["conv 4 3", "pool 2", "activation", "flatten", "linear classes"], "g", (3, 6, 6), 2),
    "padded": build_spec(["conv 4 3 1", "activation", "flatten", "linear classes"], "g", (3, 4, 4), 2),
    "padded above": build_spec(["conv 4 3", "activation", "conv 2 3 1", "flatten", "linear classes"], "g", (3, 5, 5), 2),
}
EVERY = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def queries_of(spec, sets=1, teachers=2):
    """Channels and outputs of different means and scales; the answers of a teacher are ten times those of the one before."""
    x = torch.randn(sets, 50, *spec.image_shape) * torch.tensor([0.5, 2.0, 7.0]).view(3, 1, 1)
    x = x + torch.tensor([3.0, -1.0, 0.2]).view(3, 1, 1)
    y = torch.randn(teachers, 50, 2).double() * 10.0 ** torch.arange(teachers).view(-1, 1, 1) + torch.tensor([5.0, -3.0])
    return Queries(x, y, x, y, x, y, x, y, 0)


@EVERY
@pytest.mark.parametrize("sets", [1, 2])
def test_in_teacher_units_a_network_answers_raw_inputs_as_it_did_scaled_ones(spec, sets):
    queries = queries_of(spec, sets)
    scaling = scaling_of(spec, queries)
    weights, owner = torch.randn(4, spec.num_weights).double(), torch.tensor([0, 1, 1, 0])
    x = queries.train_x if sets == 1 else queries.train_x[owner]
    raw = forward(spec, in_teacher_units(spec, weights, scaling, owner), x.double())
    scaled = forward(spec, weights, scaling.inputs(x))
    expected = scaled * scaling.y_scale[owner].view(-1, 1, 1) + scaling.y_mean[owner].unsqueeze(1)
    torch.testing.assert_close(raw, expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(raw, scaled, atol=0.1)


@EVERY
def test_scaled_answers_have_mean_0_per_output_and_variance_1_per_teacher(spec):
    queries = queries_of(spec)
    y = scaling_of(spec, queries).answers(queries.train_y)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 2).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(y.square().mean((1, 2)), torch.ones(2).double())


@EVERY
def test_scaled_inputs_have_deviation_1_and_zeros_around_an_image_stay_zeros(spec):
    queries = queries_of(spec)
    scaling = scaling_of(spec, queries)
    x = scaling.inputs(queries.train_x)
    torch.testing.assert_close(x.std((0, 1, 3, 4)), torch.ones(3).double())
    if any(op.sizes.get("padding") for op in spec.ops):
        assert (scaling.inputs(torch.zeros(1, 1, *spec.image_shape)) == 0).all()
    else:
        torch.testing.assert_close(x.mean((0, 1, 3, 4)), torch.zeros(3).double(), rtol=0, atol=1e-12)


def test_constant_channels_and_answers_keep_their_scale():
    spec = SPECS["mlp"]
    queries = queries_of(spec)
    queries.train_x[:, :, 1] = 4.0
    queries.train_y[1] = 2.0
    scaling = scaling_of(spec, queries)
    assert scaling.x_scale[1] == scaling.y_scale[1] == 1.0
    assert (scaling.inputs(queries.train_x)[:, :, 1] == 0).all()
    assert (scaling.answers(queries.train_y)[1] == 0).all()
