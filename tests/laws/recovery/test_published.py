"""The published procedure: units of the five best students, sums above them, an affine map beside even-linear networks."""

import pytest
import torch
import torch.nn.functional as F
from planted import as_problem, as_students, imitated, students_of, teacher_of
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward
from weightspace.recovery.cluster import NO_CLUSTER, Clustering
from weightspace.recovery.compare import Networks, answer_metrics, compare
from weightspace.recovery.files import Expanded, read_networks, recovered_network, write_networks
from weightspace.recovery.fit import squared_error
from weightspace.recovery.layers import incoming, trace, widths_of, with_layers
from weightspace.recovery.problem import problem_of
from weightspace.recovery.published import (
    BEST,
    Neurons,
    affine,
    collapse_by_sums,
    finish_with_skip,
    neurons_of,
    recover_published,
    units_of,
    without_skip,
)
from weightspace.recovery.queries import Queries
from weightspace.recovery.recover import recover
from weightspace.recovery.recover_cell import recover_networks
from weightspace.recovery.settings import ClusterConfig, QueriesConfig, RecoveryConfig, StudentsConfig
from weightspace.recovery.students import Students
from weightspace.store import TrainingState

SHALLOW = ["flatten", "linear 6", "activation", "linear classes"]
NARROW = ["flatten", "linear 2", "activation", "linear classes"]
DEEP = ["flatten", "linear 6", "activation", "linear 4", "activation", "linear classes"]
CONV = ["conv 3 3", "activation", "flatten", "linear 5", "activation", "linear classes"]
VECTOR = (1, 1, 10)
PUBLISHED = ClusterConfig(procedure="published", metric="weights", min_cluster_share=1.0)
HALF = PUBLISHED.model_copy(update={"min_cluster_share": 0.5})
SIGNED = ("odd", "odd_constant", "none")
PROCEDURES = {"default": recover, "published": recover_published}
EVEN_LINEAR = [name for name, activation in ACTIVATIONS.items() if activation.symmetry == "even_linear"]
OTHERS = [name for name, activation in ACTIVATIONS.items() if activation.symmetry in SIGNED]


def planted(architecture, activation, kinds=("copies", "mirrored", "zero", "scales"), shape=VECTOR, num=8):
    """A teacher, exact students of it, and its answers."""
    generator = torch.Generator().manual_seed(0)
    spec, teacher = teacher_of(architecture, activation, shape, 3, generator)
    wide, students = students_of(spec, teacher, kinds, num, generator)
    return (spec, teacher), (wide, students), imitated(spec, teacher, num, 1500, generator)


def config_of(**changes):
    return RecoveryConfig(**{
        "teacher": "t", "seeds": [0], "queries": QueriesConfig(design="uniform"), "students": StudentsConfig(num=8),
        "cluster": PUBLISHED, "retrain_steps": 0, "finish_steps": 0,
    } | changes)  # fmt: skip


def furthest(teacher, network, x):
    return max(float(layer.distance.max()) for layer in compare(Networks(*teacher, *network, x)).layers)


def assert_found_up_to_sign_and_scale(teacher, network):
    lines = [F.normalize(incoming(*one, 0)[0], dim=1) for one in (teacher, network[:2])]
    assert (lines[0] @ lines[1].T).abs().amax(1).min() > 1 - 1e-12


# planted students


@pytest.mark.slow
@pytest.mark.parametrize("activation", OTHERS)
@pytest.mark.parametrize("architecture", [SHALLOW, DEEP], ids=["shallow", "deep"])
def test_sums_of_exact_students_give_the_teacher_back_without_training(architecture, activation):
    teacher, (wide, students), fit = planted(architecture, activation)
    recovered = recover_published(wide, as_students(students), as_problem(fit), config_of())
    assert widths_of(recovered.network.spec) == widths_of(teacher[0])
    assert recovered.network.error < 1e-20
    assert furthest(teacher, recovered.network[:2], fit.x) < 1e-10
    assert recovered.skip is None
    assert recovered.affine_residual == 0.0


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "g"])
def test_convolutions_are_summed_too(activation):
    teacher, (wide, students), fit = planted(CONV, activation, shape=(1, 5, 5))
    recovered = recover_published(wide, as_students(students), as_problem(fit), config_of())
    assert widths_of(recovered.network.spec) == widths_of(teacher[0])
    assert recovered.network.error < 1e-20


@pytest.mark.slow
@pytest.mark.parametrize("activation", EVEN_LINEAR)
def test_of_exact_even_linear_students_the_skip_makes_the_error_vanish(activation):
    """Neurons of the pairs that are an affine map can be clusters too: of these the outgoing weights sum to zero."""
    teacher, (wide, students), fit = planted(NARROW, activation, ("mirrored", "scales"))
    assert squared_error(wide, students, fit).max() < 1e-20
    recovered = recover_published(wide, as_students(students), as_problem(fit), config_of(cluster=HALF))
    assert recovered.network.error < 1e-20
    assert_found_up_to_sign_and_scale(teacher, recovered.network)
    assert squared_error(*recovered.network[:2], fit.of(torch.arange(1))) > 1e-3  # without it


@pytest.mark.parametrize("activation", EVEN_LINEAR)
def test_signs_of_units_that_differ_among_students_and_an_affine_map_are_all_in_the_skip(activation):
    teacher, (wide, students), fit = planted(SHALLOW, activation, ("copies", "scales"))
    rows = students[:, : 10 * widths_of(wide)[0]].view(len(students), -1, 10)
    students[:, 10 * widths_of(wide)[0] : 11 * widths_of(wide)[0]] *= (signs := torch.randn(rows.shape[:2]).sign().double())
    rows *= signs.unsqueeze(2)
    fit = fit._replace(y=fit.y + affine(torch.randn(3, 11).double(), fit.x))
    recovered = recover_published(wide, as_students(students), as_problem(fit), config_of())
    network, skip = recovered.network, recovered.skip
    assert_found_up_to_sign_and_scale(teacher, network)
    assert widths_of(network.spec) == widths_of(teacher[0])
    assert network.error < 1e-20
    assert skip.shape == (3, 11)
    added, y = affine(skip, fit.x)[0], fit.y[0]
    expected = (added.var(0, correction=0).sum() / y.var(0, correction=0).sum()).sqrt()
    assert recovered.affine_residual == pytest.approx(float(expected), rel=1e-9)


def test_of_a_teacher_whose_first_weights_are_positive_nothing_is_left_to_the_skip():
    generator = torch.Generator().manual_seed(0)
    spec, teacher = teacher_of(SHALLOW, "softplus", VECTOR, 3, generator)
    rows = teacher[:, : 6 * 10].view(6, 10)
    rows[:, 0] = rows[:, 0].abs()
    wide, students = students_of(spec, teacher, ("copies",), 8, generator)
    fit = imitated(spec, teacher, 8, 1500, generator)
    recovered = recover_published(wide, as_students(students), as_problem(fit), config_of())
    assert recovered.affine_residual < 1e-10
    assert furthest((spec, teacher), recovered.network[:2], fit.x) < 1e-10


@pytest.mark.slow
def test_network_and_skip_are_trained_together():
    _, (wide, students), fit = planted(SHALLOW, "softplus", ("copies", "mirrored"))
    noisy = students + 0.02 * torch.randn(students.shape, dtype=torch.float64)
    errors = Students(noisy, squared_error(wide, noisy, fit))
    recovered = recover_published(wide, errors, as_problem(fit), config_of(finish_steps=60))
    assert recovered.network.error < 1e-2 * recovered.clustered.error
    alone = fit.of(torch.arange(1))
    torch.testing.assert_close(
        squared_error(*recovered.network[:2], without_skip(alone, recovered.skip)),
        torch.tensor([recovered.network.error], dtype=torch.float64),
    )
    network, skip = finish_with_skip(recovered.network, recovered.skip, alone, 20)
    assert network.error <= recovered.network.error
    assert not torch.equal(skip, recovered.skip)


@pytest.mark.slow
def test_retraining_takes_up_what_collapsing_a_lower_layer_lost():
    teacher, (wide, students), fit = planted(DEEP, "g", ("copies",))
    noisy = students + 0.003 * torch.randn(students.shape, dtype=torch.float64)
    errors = Students(noisy, squared_error(wide, noisy, fit))
    recovered = [recover_published(wide, errors, as_problem(fit), config_of(retrain_steps=steps)) for steps in (0, 8)]
    assert all(widths_of(one.network.spec) == widths_of(teacher[0]) for one in recovered)
    assert recovered[1].network.error < 0.5 * recovered[0].network.error


# the five best


def neurons_with(places, width=4):
    """Neurons of given students in given clusters, with random weights, and their clustering."""
    student = torch.tensor([student for student, _ in places])
    labels = torch.tensor([label for _, label in places])
    rows, outgoing = torch.randn(len(places), width), torch.randn(len(places), 3)
    return Neurons(rows, outgoing, rows, student), Clustering(labels, None, None, 2, None, 0.0, [], labels)


def test_units_are_means_of_the_best_students_own_neurons_and_outgoing_weights_their_sums():
    places = [(0, 0), (0, 0), (0, NO_CLUSTER), (1, 0), (1, 1), (2, 1), (2, 1), (2, 1), (6, 0)]
    neurons, clustering = neurons_with(places)
    rows, sums, chosen = units_of(neurons, clustering)
    assert chosen.tolist() == [0, 1]
    torch.testing.assert_close(rows, torch.stack([neurons.rows[:2].mean(0), neurons.rows[4]]))
    for student, label in [(s, c) for s in range(7) for c in (0, 1)]:
        members = [n for n, place in enumerate(places) if place == (student, label)]
        torch.testing.assert_close(sums[student, label], neurons.outgoing[members].sum(0))


def test_a_cluster_without_a_neuron_of_the_five_best_is_dropped():
    everyone = [(student, 0) for student in range(BEST + 4)]
    worse = [(student, 1) for student in range(BEST, BEST + 4)]
    fifth = [(BEST - 1, 2), (BEST + 1, 2)]
    neurons, clustering = neurons_with([*everyone, *worse, *fifth])
    rows, sums, chosen = units_of(neurons, clustering)
    assert chosen.tolist() == [0, BEST - 1]
    torch.testing.assert_close(rows, neurons.rows[[0, len(everyone) + len(worse)]])
    assert sums.shape == (BEST + 4, 2, 3)


def test_what_only_worse_students_agree_in_is_lost_whatever_the_students_order():
    (spec, teacher), (wide, students), fit = planted(SHALLOW, "g", ("copies",), num=2 * BEST)
    unit = incoming(spec, teacher, 0)[0, 0]
    own = (incoming(wide, students, 0) - unit).norm(dim=2) < 1e-9
    rows = students[:, : 10 * widths_of(wide)[0]].view(len(students), -1, 10)
    rows[:BEST][own[:BEST]] = 5 * torch.randn(int(own[:BEST].sum()), 10, dtype=torch.float64)  # the best ones do not have it
    error = torch.cat([torch.full((BEST,), 1e-28), torch.full((BEST,), 1e-20)]).double()
    order = torch.randperm(2 * BEST)
    for one in (torch.arange(2 * BEST), order):
        recovered = recover_published(wide, Students(students[one], error[one]), as_problem(fit), config_of(cluster=HALF))
        found = compare(Networks(spec, teacher, *recovered.network[:2], fit.x)).layers[0]
        assert widths_of(recovered.network.spec) == [5]
        assert found.found[0] == -1
        assert found.distance[1:].max() < 1e-10


@pytest.mark.parametrize("activation", ["relu", "softplus", "gelu"])
def test_beside_an_affine_skip_signs_of_even_linear_units_do_not_count_and_without_one_they_do(activation):
    (spec, teacher), _, fit = planted(SHALLOW, activation)
    rows = incoming(spec, teacher, 0)[0]
    signs = torch.tensor([(-1.0) ** n for n in range(len(rows))], dtype=torch.float64).unsqueeze(1)
    turned = with_layers(spec, teacher, {0: (signs * rows).unsqueeze(0)})
    networks = Networks(spec, teacher, *turned, fit.x)
    assert compare(networks).layers[0].distance.max() > 0.5
    forgiven = compare(networks._replace(free_signs=True))
    assert forgiven.layers[0].distance.max() < 1e-12
    assert forgiven.outgoing_error < 1e-12


def test_where_no_cluster_is_left_the_best_students_neurons_stay():
    _, (wide, students), fit = planted(SHALLOW, "g")
    alone = torch.randn(students.shape, dtype=torch.float64)
    spec, weights, _ = collapse_by_sums(wide, alone, fit, 0, PUBLISHED.model_copy(update={"max_angle_rad": 1e-3}))
    torch.testing.assert_close(incoming(spec, weights, 0), incoming(wide, alone[:1], 0))
    torch.testing.assert_close(incoming(spec, weights, 1)[..., :-1], incoming(wide, alone[:1], 1)[..., :-1])


# signs and norms


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_neurons_of_one_sign_and_norm_are_the_same_function_up_to_what_is_affine(activation):
    _, (wide, students), fit = planted(SHALLOW, activation)
    seen = trace(wide, students, fit.x)
    neurons = neurons_of(wide, students, seen[0].inputs[0], 0, PUBLISHED, None)
    symmetry = ACTIVATIONS[activation]
    if symmetry.symmetry != "none":
        assert (neurons.rows[:, 0] >= 0).all()
    if symmetry.scaling:
        torch.testing.assert_close(neurons.rows.norm(dim=1), torch.ones(len(neurons.rows)).double())
    x = fit.x[0].flatten(1)
    for n in range(2):
        own = neurons.student == n
        outputs = symmetry.function(x @ neurons.rows[own, :-1].T + neurons.rows[own, -1]) @ neurons.outgoing[own]
        rest = forward(wide, students[n : n + 1], fit.x)[0] - outputs
        ones = torch.ones(len(x), 1).double()
        basis = torch.cat([x, ones], dim=1) if symmetry.symmetry == "even_linear" else ones
        left = rest - basis @ torch.linalg.lstsq(basis, rest).solution
        assert left.abs().max() < 1e-10


def test_a_mask_of_the_inputs_decides_in_which_weight_the_sign_is_read():
    _, (wide, students), fit = planted(SHALLOW, "tanh")
    mask = torch.arange(10) >= 4
    neurons = neurons_of(wide, students, trace(wide, students, fit.x)[0].inputs[0], 0, PUBLISHED, mask)
    assert (neurons.rows[:, 4] >= 0).all()
    assert (neurons.rows[:, 0] < 0).any()
    assert neurons.vectors.shape[1] == 7
    assert neurons.rows.shape[1] == 11


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_with_a_mask_students_are_recovered_that_differ_in_what_it_hides(procedure):
    generator = torch.Generator().manual_seed(0)
    (spec, teacher), (wide, students), fit = planted(SHALLOW, "g", ("copies",))
    fit = fit._replace(x=fit.x.clone())
    fit.x[..., 7:] = 0.0  # dark pixels
    fit = fit._replace(y=forward(spec, teacher, fit.x))
    rows = students[:, : 10 * widths_of(wide)[0]].view(len(students), -1, 10)
    rows[..., 7:] = 9 * torch.randn(rows[..., 7:].shape, generator=generator, dtype=torch.float64)
    mask = torch.arange(10) < 7
    config = config_of(cluster=PUBLISHED.model_copy(update={"procedure": procedure}), minimize=False)
    recovered = [PROCEDURES[procedure](wide, as_students(students), as_problem(fit), config, one) for one in (mask, None)]
    assert [one.network.error < 1e-20 and widths_of(one.network.spec) == [6] for one in recovered] == [True, False]


# files and units


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_the_setting_decides_which_procedure_runs(procedure, tmp_path):
    _, (wide, students), fit = planted(SHALLOW, "relu", ("copies",))
    queries = Queries(*[fit.x.float(), fit.y] * 4, asked=1)
    problem, config = problem_of(wide, queries, torch.device("cpu")), config_of(minimize=False)
    config = config.model_copy(update={"cluster": PUBLISHED.model_copy(update={"procedure": procedure})})
    state = TrainingState(tmp_path / "state", "key")
    (network,), _ = recover_networks(Expanded(wide, as_students(students), 8), problem, config, state)
    assert (network.skip is not None) == (procedure == "published")
    assert network.about["skip_weights"] == (33 if procedure == "published" else 0)


def test_a_skip_survives_its_file_and_the_units_of_the_teacher(tmp_path):
    (spec, teacher), (wide, students), fit = planted(SHALLOW, "relu")
    x = (3 * fit.x[:, :, :, :, :] + 2).float()
    scale = torch.tensor(4.0).double()
    y = forward(spec, teacher, fit.x) * scale + torch.tensor([1.0, -2.0, 5.0]).double()
    queries = Queries(*[x, y] * 4, asked=1)
    problem = problem_of(spec, queries, torch.device("cpu"))
    own = problem.train.of(torch.zeros(len(students), dtype=torch.long))
    recovered = recover_published(wide, as_students(students), as_problem(own), config_of(finish_steps=20))
    write_networks(tmp_path / "networks", [recovered_network(recovered.network, problem, 0, {}, recovered.skip)])
    (network,) = read_networks(tmp_path / "networks")
    plain = forward(network.spec, network.weights, x.double())[0]
    error = (plain + affine(network.skip, x.double())[0] - y[0]).square().mean().sqrt()
    measured = answer_metrics(network.spec, network.weights, x, y[0], "held_out", network.skip)
    assert measured["rmse_held_out"] == pytest.approx(float(error), rel=1e-9)
    assert measured["rmse_held_out"] == pytest.approx(float(recovered.network.error**0.5 * problem.scaling.y_scale[0]), rel=1e-6)
    assert answer_metrics(network.spec, network.weights, x, y[0], "held_out")["rmse_held_out"] > 10 * measured["rmse_held_out"]
