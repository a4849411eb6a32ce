"""Exact students give the teacher back: every layer, every unit, nothing more."""

from functools import partial

import pytest
import torch
from killing import DyingState, KilledError
from planted import KINDS, as_problem, as_students, imitated, students_of, teacher_of, widened
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward
from weightspace.nets.spec import build_spec
from weightspace.progress import Progress
from weightspace.recovery import finish as module
from weightspace.recovery import recover_cell
from weightspace.recovery.collapse import Criterion, collapse_layer, needed
from weightspace.recovery.compare import Networks, compare, unit_metrics
from weightspace.recovery.files import Expanded
from weightspace.recovery.finish import as_good, exact_error, finish
from weightspace.recovery.fit import squared_error
from weightspace.recovery.layers import incoming, symmetry_of, widths_of, with_layers
from weightspace.recovery.problem import Problem, problem_of
from weightspace.recovery.queries import Queries
from weightspace.recovery.recover import recover
from weightspace.recovery.recover_cell import recover_networks
from weightspace.recovery.settings import ClusterConfig, QueriesConfig, RecoveryConfig, StudentsConfig
from weightspace.recovery.students import Students
from weightspace.store import TrainingState

SHALLOW = ["flatten", "linear 6", "activation", "linear classes"]
DEEP = ["flatten", "linear 6", "activation", "linear 4", "activation", "linear classes"]
DEEPER = ["flatten", "linear 6", "activation", "linear 5", "activation", "linear 4", "activation", "linear classes"]
HEAD = ["conv 2 2", "activation", "flatten", "linear 5", "activation", "linear classes"]
CONV = ["conv 3 3", "activation", *HEAD]
POOLED = ["conv 3 3", "activation", "pool 2", *HEAD]
LAST = ["conv 3 3 1", "activation", "flatten", "linear classes"]
VECTOR = (1, 1, 10)
ALL = ClusterConfig(min_cluster_share=1.0)


def generator_of(seed):
    return torch.Generator().manual_seed(seed)


def planted(architecture, activation, shape=VECTOR, kinds=KINDS, seed=0, num=12, queries=2000):
    """A teacher, exact students of it, and its answers."""
    generator = generator_of(seed)
    spec, teacher = teacher_of(architecture, activation, shape, 3, generator)
    wide, students = students_of(spec, teacher, kinds, num, generator)
    fit = imitated(spec, teacher, num, queries, generator)
    assert squared_error(wide, students, fit).max() < 1e-17
    return (spec, teacher), (wide, students), fit


def collapsed(wide, students, fit, config=ALL):
    """All layers collapsed, nothing trained; and the affine residuals."""
    residuals = []
    for layer in range(len(wide.layers) - 1):
        own = fit.of(torch.arange(len(students)))
        wide, students, _, residual = collapse_layer(wide, students, own, layer, Criterion(config))
        residuals.append(residual)
    return wide, students, residuals


def assert_recovered(teacher, recovered, fit):
    assert widths_of(recovered[0]) == widths_of(teacher[0])
    assert squared_error(*recovered, fit.of(torch.arange(1))) < 1e-12
    comparison = compare(Networks(*teacher, *recovered, fit.x))
    assert max(float(layer.distance.max()) for layer in comparison.layers) < 1e-10
    assert all(sorted(layer.found.tolist()) == list(range(len(layer.found))) for layer in comparison.layers)


# layer by layer, without any training


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("architecture", [SHALLOW, DEEP, DEEPER], ids=["shallow", "deep", "deeper"])
def test_exact_students_are_collapsed_to_the_teacher_without_training(architecture, activation):
    teacher, students, fit = planted(architecture, activation)
    spec, weights, residuals = collapsed(*students, fit)
    assert max(residuals) < 1e-7
    assert_recovered(teacher, (spec, weights), fit)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "gelu", "softplus", "g"])
@pytest.mark.parametrize(("architecture", "pixels"), [(CONV, 6), (POOLED, 8)], ids=["conv", "pooled"])
def test_exact_convolutional_students_are_collapsed_to_the_teacher_head_included(architecture, pixels, activation):
    teacher, students, fit = planted(architecture, activation, (1, pixels, pixels), seed=1, num=8, queries=1000)
    assert_recovered(teacher, collapsed(*students, fit)[:2], fit)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_convolution_as_last_hidden_layer_is_collapsed(activation):
    teacher, students, fit = planted(LAST, activation, (1, 5, 5), ("copies", "mirrored", "scales"), seed=1, num=8, queries=1000)
    assert_recovered(teacher, collapsed(*students, fit)[:2], fit)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["relu", "softplus", "sigmoid", "tanh", "g"])
def test_neurons_that_add_nothing_never_change_the_recovered_size(activation, kind):
    teacher, students, fit = planted(DEEP, activation, kinds=(kind,))
    assert_recovered(teacher, collapsed(*students, fit)[:2], fit)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "softplus", "tanh", "g"])
@pytest.mark.parametrize("kind", ["zero", "constant", "pairs"])
def test_neurons_in_vain_that_all_students_have_are_dropped(activation, kind):
    generator = generator_of(0)
    spec, teacher = teacher_of(SHALLOW, activation, VECTOR, 3, generator)
    common = widened(spec, teacher, 0, (kind,), generator)
    wide, students = students_of(*common, ("copies",), 8, generator)
    fit = imitated(spec, teacher, 8, 2000, generator)
    assert_recovered((spec, teacher), collapsed(wide, students, fit)[:2], fit)


def test_dead_neurons_are_dropped():
    teacher, (wide, students), fit = planted(SHALLOW, "relu", kinds=("copies",))
    rows, above = incoming(wide, students, 0), incoming(wide, students, 1)
    dead = rows[:, :2].clone()
    dead[..., -1] = -100.0
    loud = torch.randn(len(students), 3, 2, dtype=torch.float64)
    above = torch.cat([above[..., :-1], loud, above[..., -1:]], 2)
    wide, students = with_layers(wide, students, {0: torch.cat([rows, dead], 1), 1: above})
    assert_recovered(teacher, collapsed(wide, students, fit)[:2], fit)


def test_a_unit_is_needed_if_and_only_if_some_target_reads_any_of_its_block():
    features = torch.randn(200, 8, dtype=torch.float64)
    outgoing = torch.randn(3, 8, dtype=torch.float64)
    outgoing[:, 2:4] = 0.0  # of unit 1, nothing
    outgoing[1:, 4:6] = outgoing[:, 4] = 0.0  # of unit 2, one entry, in one target
    targets = features @ outgoing.T + 3.0
    assert needed(features, targets, 4).tolist() == [True, False, bool(outgoing[0, 5]), True]


# from students to a network


def config_of(**changes):
    return RecoveryConfig(**{
        "teacher": "t", "seeds": [0], "queries": QueriesConfig(design="uniform"), "students": StudentsConfig(num=12),
        "cluster": ALL, "retrain_steps": 0, "finish_steps": 0, "minimize": False,
    } | changes)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh", "g"])
def test_recover_gives_the_teacher_and_says_how(activation):
    teacher, (wide, students), fit = planted(DEEP, activation)
    recovered = recover(wide, as_students(students), as_problem(fit), config_of())
    assert_recovered(teacher, recovered.network[:2], fit)
    assert recovered.how == "clusters"
    assert len(recovered.clusterings) == 2
    assert recovered.affine_residual < 1e-10


def test_recover_finds_the_teachers_widths_with_a_low_threshold_for_clusters_too():
    teacher, (wide, students), fit = planted(SHALLOW, "g", kinds=("copies", "zero"), queries=500)
    loose = ClusterConfig(min_cluster_share=0.1)
    recovered = recover(wide, as_students(students), as_problem(fit), config_of(cluster=loose))
    assert_recovered(teacher, recovered.network[:2], fit)


@pytest.mark.slow
@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_killed_recovery_of_several_teachers_goes_on_bit_for_bit_and_says_from_where(tmp_path, capsys, monkeypatch, saves):
    monkeypatch.setattr(recover_cell, "Progress", partial(Progress, every_seconds=0.0))
    _, (wide, students), fit = planted(SHALLOW, "relu", num=4, queries=300)
    queries = Queries(*[fit.x.float(), torch.cat([fit.y, -fit.y, fit.y.flip(2)])] * 4, asked=1)
    problem, config = problem_of(wide, queries, torch.device("cpu")), config_of(finish_steps=3, minimize=False)
    given = (Expanded(wide, as_students(students.repeat(3, 1)), 4), problem, config)
    whole, clusterings = recover_networks(*given, TrainingState(tmp_path / "whole", "key"))
    with pytest.raises(KilledError):
        recover_networks(*given, DyingState(tmp_path / "state", saves))
    capsys.readouterr()
    resumed, again = recover_networks(*given, TrainingState(tmp_path / "state", "key"))
    assert len(resumed) == len(whole) == 3
    for ours, theirs in zip(resumed, whole, strict=True):
        assert torch.equal(ours.weights, theirs.weights)
        assert ours.about == theirs.about
    assert not torch.equal(whole[0].weights, whole[1].weights)
    assert [own.merges.tolist() for own in again] == [own.merges.tolist() for own in clusterings]
    said = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("teachers")]
    assert said == [f"{saves}/3:", *(f"{done}/3" for done in range(saves + 1, 4))]


def test_students_that_agree_in_nothing_are_thinned_one_by_one():
    generator = generator_of(0)
    spec, teacher = teacher_of(["flatten", "linear 2", "activation", "linear classes"], "g", (1, 1, 3), 1, generator)
    wide, students = students_of(spec, teacher, ("copies", "zero"), 1, generator)
    students = torch.cat([students, torch.randn(2, wide.num_weights, generator=generator, dtype=torch.float64)])
    fit = imitated(spec, teacher, 3, 500, generator)
    errors = as_students(students)._replace(error=squared_error(wide, students, fit))
    config = config_of(cluster=ClusterConfig(min_cluster_share=1.0), thinned_students=1, minimize=True, finish_steps=5)
    assert_recovered((spec, teacher), recover(wide, errors, as_problem(fit), config).network[:2], fit)


@pytest.mark.slow
def test_where_noise_keeps_the_error_from_zero_units_still_go_several_at_a_time(monkeypatch):
    """By L-BFGS, with answers of a thousandth of noise: the teacher's size, in fewer trainings than there are units too many."""
    shallow = ["flatten", "linear 8", "activation", "linear classes"]
    teacher, (wide, students), fit = planted(shallow, "g", kinds=("copies", "zero", "pairs"), num=1, queries=500)
    fit = fit._replace(y=fit.y + 1e-3 * torch.randn(fit.y.shape, generator=generator_of(1), dtype=torch.float64))
    sizes = []

    def counted(spec, *given):
        sizes.append(spec.layers[0].out)
        return finish(spec, *given)

    monkeypatch.setattr(module, "finish", counted)
    config = config_of(minimize=True, finish_steps=100, second_order_limit=1)
    start = finish(wide, students, fit, config)
    found = module.prune_units(start, fit, config)
    surplus = widths_of(wide)[0] - widths_of(teacher[0])[0]
    assert widths_of(found.spec) == widths_of(teacher[0])
    assert start.error / 1.5 < found.error < 1.5 * start.error
    assert surplus >= 8
    assert sum(size >= widths_of(teacher[0])[0] for size in sizes) <= surplus / 2


@pytest.mark.parametrize("kind", ["silent", "dead"])
@pytest.mark.parametrize("architecture", [SHALLOW, DEEP], ids=["shallow", "deep"])
def test_students_of_a_teacher_that_answers_all_queries_alike_give_a_constant_network(architecture, kind):
    spec = build_spec(architecture, "relu", VECTOR, 3)
    weights = torch.randn(4, spec.num_weights, generator=generator_of(0), dtype=torch.float64)
    last = len(spec.layers) - 1
    rows, above = incoming(spec, weights, last - 1), incoming(spec, weights, last)
    rows[..., -1] = -100.0 if kind == "dead" else rows[..., -1]
    above[..., :-1] = 0.0 if kind == "silent" else above[..., :-1]
    above[..., -1] = 0.0
    weights = with_layers(spec, weights, {last - 1: rows, last: above})[1]
    fit = imitated(spec, weights[:1], 4, 200, generator_of(1))
    assert fit.y.abs().max() == 0.0
    network = recover(spec, as_students(weights), as_problem(fit), config_of(minimize=True)).network
    assert network.error < 1e-20
    assert min(widths_of(network.spec)) > 0


# never worse than the best student


def noisy_students(activation, num, noise, seed, architecture=SHALLOW, kinds=("copies",), shape=VECTOR):
    """A teacher that answers in float32, students that are it but for noise in their weights, and their errors; val is apart."""
    generator = generator_of(seed)
    spec, teacher = teacher_of(architecture, activation, shape, 2, generator)
    wide, students = students_of(spec, teacher, kinds, num, generator)
    students = students + noise * torch.randn(students.shape, generator=generator, dtype=torch.float64)
    fits = [imitated(spec, teacher, num, count, generator) for count in (500, 200)]
    problem = Problem(None, *(fit._replace(y=forward(spec, teacher.float(), fit.x.float()).double()) for fit in fits))
    return spec, (wide, Students(students, squared_error(wide, students, problem.train))), problem


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_of_float32_answers_all_units_are_found_and_error_zero_is_what_their_precision_leaves(seed):
    seven = ["flatten", "linear 7", "activation", "linear classes"]
    spec, (wide, students), problem = noisy_students("tanh", 9, 1e-8, seed, seven, shape=(1, 1, 5))
    config = config_of(cluster=ClusterConfig(), minimize=True, finish_steps=20)
    recovered = recover(wide, students, problem, config)
    assert widths_of(recovered.network.spec) == widths_of(spec)
    assert 1e-16 < recovered.network.error < exact_error(students.error) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("minimize", [True, False])
@pytest.mark.parametrize("noise", [1e-8, 1e-3, 0.1])
@pytest.mark.parametrize(("activation", "architecture"), [("tanh", SHALLOW), ("gelu", SHALLOW), ("g", DEEP)])
def test_no_network_answers_validation_queries_worse_than_the_best_student(activation, architecture, noise, minimize):
    """Students but the best one lack units, which no cluster has then."""
    spec, (wide, students), problem = noisy_students(activation, 3, noise, 0, architecture)
    above = incoming(wide, students.weights, 1)
    above[1:, :, :3] = 0.0
    weights = with_layers(wide, students.weights, {1: above})[1]
    students = Students(weights, squared_error(wide, weights, problem.train))
    config = config_of(minimize=minimize, finish_steps=2)
    recovered = recover(wide, students, problem, config)
    best = squared_error(wide, students.weights, problem.val).min()
    error = squared_error(*recovered.network[:2], problem.of_teacher(0, 1).val)
    assert error <= as_good(float(best), exact_error(students.error))
    assert recovered.how == ("students" if noise < 0.1 else "clusters")
    assert sum(widths_of(recovered.network.spec)) < sum(widths_of(wide)) or not minimize


def test_a_floor_is_where_a_quarter_of_the_students_end_together_and_low():
    floor, gone = torch.tensor([1.5e-13, 2e-13, 3e-13, 1e-12]), torch.tensor([torch.nan, 1e-3, 0.1, 1.0])
    assert exact_error(torch.cat([gone, floor])) == pytest.approx(4 * 2e-13)
    assert exact_error(torch.cat([floor[:1], gone])) == 1e-16  # one student alone
    assert exact_error(1e6 * floor) == 1e-16  # noise
    assert exact_error(1e-9 * floor) == 1e-16
    assert exact_error(floor * torch.tensor([1.0, 50.0, 2e3, 1e5])) == 1e-16  # on their way


# compare


def in_another_gauge(spec, weights, generator):
    """The same function: units permuted, signs and scales moved as the class allows."""
    for layer in range(len(spec.layers) - 1):
        spec, weights = widened(spec, weights, layer, ("scales",), generator)
        symmetry = symmetry_of(spec, layer)
        if symmetry.symmetry in ("odd", "odd_constant"):
            rows, above = incoming(spec, weights, layer), incoming(spec, weights, layer + 1)
            sign = torch.where(torch.rand(rows.shape[1], generator=generator) < 0.5, -1.0, 1.0).double()
            columns = above[..., :-1].unflatten(2, (len(sign), -1))
            above[..., -1] += symmetry.constant * (columns * (sign < 0).view(1, -1, 1)).sum((2, 3))
            above[..., :-1] = (columns * sign.view(1, 1, -1, 1)).flatten(2)
            spec, weights = with_layers(spec, weights, {layer: rows * sign.view(1, -1, 1), layer + 1: above})
    return spec, weights


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("architecture", "shape"), [(DEEP, VECTOR), (POOLED, (1, 8, 8))], ids=["deep", "pooled"])
def test_comparison_does_not_see_the_gauge(architecture, shape, activation):
    generator = generator_of(0)
    spec, teacher = teacher_of(architecture, activation, shape, 3, generator)
    fit = imitated(spec, teacher, 1, 200, generator)
    noisy = teacher + 0.01 * torch.randn(teacher.shape, generator=generator, dtype=torch.float64)
    other = in_another_gauge(spec, noisy, generator)
    assert squared_error(*other, fit).isclose(squared_error(spec, noisy, fit), rtol=1e-6)
    assert not torch.allclose(other[1], noisy, atol=0.1)
    ours, theirs = compare(Networks(spec, teacher, *other, fit.x)), compare(Networks(spec, teacher, spec, noisy, fit.x))
    for mine, its in zip(ours.layers, theirs.layers, strict=True):
        assert 1e-7 < its.distance.max() < 1e-1
        torch.testing.assert_close(mine.distance, its.distance, rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(mine.error, its.error, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(mine.recovered, its.recovered, rtol=1e-6, atol=1e-9)
    assert ours.outgoing_error == pytest.approx(theirs.outgoing_error, rel=1e-6)


def single(rows):
    """A network of one hidden layer with these units, on two inputs."""
    spec = build_spec(["flatten", f"linear {len(rows)}", "activation", "linear classes"], "g", (1, 1, 2), 1)
    rows = torch.tensor(rows, dtype=torch.float64).unsqueeze(0)
    above = torch.ones(1, 1, rows.shape[1] + 1, dtype=torch.float64)
    return with_layers(spec, torch.zeros(1, spec.num_weights, dtype=torch.float64), {0: rows, 1: above})


def test_matching_is_one_to_one_even_where_two_units_share_the_nearest():
    x = torch.randn(1, 500, 1, 1, 2, dtype=torch.float64)
    teacher = single([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0]])
    recovered = single([[0.0, 1.0, 0.0], [1.0, 0.1, 0.0]])  # its second unit is the nearest of both
    (layer,) = compare(Networks(*teacher, *recovered, x)).layers
    assert layer.found.tolist() == [1, 0]
    assert (layer.distance > 1e-4).all()


def test_a_missing_unit_is_not_found_and_an_extra_one_takes_nothing_away():
    x = torch.randn(1, 500, 1, 1, 2, dtype=torch.float64)
    rows = [[1.0, 0.0, 0.1], [0.0, 1.0, 0.2], [-1.0, 0.5, 0.3]]
    comparison = compare(Networks(*single(rows), *single([rows[2], rows[0]]), x))
    (layer,) = comparison.layers
    assert layer.found.tolist() == [1, -1, 0]
    assert layer.distance[1] == layer.error[1] == 1.0
    assert layer.recovered[1].isnan().all()
    assert unit_metrics(comparison)["coverage_1e-10"] == pytest.approx(2 / 3)
    extra = compare(Networks(*single(rows), *single([[5.0, 5.0, 5.0], *rows]), x))
    assert extra.layers[0].found.tolist() == [1, 2, 3]
    assert unit_metrics(extra)["coverage_1e-12"] == 1.0
