"""From originals to files: orders, phases, what files decode to, and their bytes."""

import os

import pytest
import torch
from planted_predictors import CLASSES, planted_images, planted_originals, predictor_config
from weightspace.errors import InputError
from weightspace.nets.forward import unflatten
from weightspace.predictor import train as module
from weightspace.predictor.artifact import load_network, save_artifacts
from weightspace.predictor.kernels import layout_of, to_kernels
from weightspace.predictor.measure import evaluation_data, measure_predictors, round_networks
from weightspace.predictor.metrics import METRICS
from weightspace.predictor.model import predict_all
from weightspace.predictor.orders import ORDERS, kernel_order, order_kernels
from weightspace.predictor.originals import Originals
from weightspace.predictor.reconstruct import reconstruct, spec_of
from weightspace.predictor.settings import PredictorConfig
from weightspace.predictor.train import PHASES, TrainedCell, make_task, read_predicted, train_predictors, write_predicted
from weightspace.predictor.tune import tune
from weightspace.store import TrainingState
from weightspace.table import Source, write_metrics

CPU = torch.device("cpu")
NAMES = [("any", 0, n) for n in range(2)]
SOURCE = Source("planted", "predictor", "cell", 0)
AFTERWARDS = {"when": "afterwards", "steps": 3, "logit_weight": 1.0, "batch_size": 8}
VARIANTS = {
    "none": {"order": "none"},
    "serpentine, linear": {"order": "serpentine", "linear": True},
    "kernels of 1": {"kernel_sizes": [1]},
    "rounds": {"rounds": 3, "order": "in_filter"},
    "jointly": {"distillation": {"when": "jointly", "batch_size": 8, "logit_weight": 1e-4, "feature_weight": 1e-4}},
    "afterwards": {"distillation": AFTERWARDS},
    "8 bits": {"quantization": {"bits": 8, "tuned_steps": 3}},
    "4 bits of all": {"distillation": AFTERWARDS, "quantization": {"bits": 4, "per": "tensor"}, "rounds": 2},
}


def task_of(config, originals):
    layout = layout_of(originals.spec.shapes, config.kernel_sizes, config.linear)
    return make_task(config, originals, order_kernels(originals, layout, config.order), CPU)


def train_seeds(config, folder, teacher=None, originals=None):
    """Task and predictors by seed."""
    task = task_of(config, originals or planted_originals())
    states = {phase: TrainingState(folder / f"{phase}.state", "key") for phase in PHASES}
    return task, train_predictors({"cell": TrainedCell(config, task)}, planted_images(), teacher, states)["cell"]


def train(config, folder, teacher=None, originals=None):
    """Task and predictors of the one seed."""
    task, predicted = train_seeds(config, folder, teacher, originals)
    return task, predicted[0]


def data_for(config, task):
    return evaluation_data(config, task.originals, task.target.rank, planted_images())


def measured(config, task, predicted, folder):
    """Rows as numbers by metric and original."""
    networks = save_artifacts(config, task, predicted, folder)
    rows = measure_predictors(SOURCE, config, predicted, data_for(config, task), networks, folder)
    write_metrics(folder / "metrics.parquet", rows, METRICS)  # which knows all metrics
    names = [row["metric"] if row["at"] is None else f"{row['metric']} {row['at']}" for row in rows]
    values = {(name, int(row["subject"])): row["value"] for name, row in zip(names, rows, strict=True)}
    assert len(values) == len(rows)
    return networks, values


# tasks


@pytest.mark.parametrize("order", ORDERS)
def test_ranks_are_the_order_of_each_originals_own_kernels(tmp_path, order):
    config, originals = predictor_config(order=order, linear=True), planted_originals()
    task = task_of(config, originals)
    kernels = to_kernels(task.layout, unflatten(originals.spec, originals.weights))
    assert torch.equal(task.target.kernels, kernels)
    for own, rank in zip(kernels, task.target.rank, strict=True):
        assert torch.equal(rank, kernel_order(task.layout, own, order))
        for part in task.layout.parts:
            assert torch.equal(rank[part.rows].sort().values, torch.arange(part.begin, part.begin + part.num_kernels))
    assert torch.equal(*task.target.rank) == (order == "none")
    again = make_task(config, originals, task.target.rank.flip(0), CPU)
    assert torch.equal(again.target.rank, task.target.rank.flip(0))


def test_originals_without_a_kernel_of_the_sizes_asked_for_are_refused():
    with pytest.raises(InputError, match="nothing to predict"):
        task_of(predictor_config(kernel_sizes=[5]), planted_originals())


# phases


@pytest.mark.slow
def test_phases_follow_each_other_from_where_the_last_one_ended(tmp_path):
    config = PredictorConfig(**predictor_config().model_dump() | VARIANTS["rounds"] | VARIANTS["8 bits"])
    task, predicted = train(config, tmp_path)
    rounds = torch.stack([done.weights for done in reconstruct(config, task.target, NAMES)])
    assert torch.equal(predicted.rounds, rounds)
    assert torch.equal(predicted.weights, tune(config, task.target, rounds[-1], NAMES))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["jointly", "afterwards"])
@pytest.mark.parametrize("num_teachers", [None, 1, 2, 3])
def test_originals_teach_themselves_or_others_teach_them_in_turn(tmp_path, monkeypatch, when, num_teachers):
    own, seen = planted_originals(), []
    teacher = None if num_teachers is None else planted_originals("plain", num_teachers)
    name, config = f"train_{when}", predictor_config(**VARIANTS[when])
    phase = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: seen.append(args[2]) or phase(*args))
    if when == "jointly":
        distillation = config.distillation.model_copy(update={"feature_weight": 0.0})
        config = config.model_copy(update={"distillation": distillation})
    train_seeds(config.model_copy(update={"seeds": [3, 0]}), tmp_path, teacher)
    (data,) = seen
    answering = own if teacher is None else teacher
    assert data.teacher.spec == answering.spec
    expected = [answering.weights[n % len(answering.weights)] for _ in range(2) for n in range(2)]
    assert torch.equal(data.teacher.weights, torch.stack(expected))
    assert torch.equal(data.originals, torch.cat([own.weights, own.weights]))
    assert data.draws == (("any", 3), ("any", 0))


def test_without_distillation_there_is_no_need_of_images(tmp_path):
    task = task_of(predictor_config(), planted_originals())
    states = {phase: TrainingState(tmp_path / phase, "key") for phase in PHASES}
    predicted = train_predictors({"cell": TrainedCell(predictor_config(), task)}, None, None, states)["cell"][0]
    assert predicted.rounds.shape[:2] == (1, 2)


@pytest.mark.parametrize("variant", ["rounds", "jointly", "8 bits"])
def test_written_predictors_come_back(tmp_path, variant):
    _, predicted = train_seeds(predictor_config(seeds=[3, 0], **VARIANTS[variant]), tmp_path)
    cells = {"one": predicted, "the.other": {0: predicted[3]}}
    write_predicted(tmp_path / "file", cells)
    back = read_predicted(tmp_path / "file")
    assert {cell: list(seeds) for cell, seeds in back.items()} == {"one": [3, 0], "the.other": [0]}
    for cell, seeds in cells.items():
        for seed, own in seeds.items():
            for ours, theirs in zip(back[cell][seed], own, strict=True):
                assert torch.equal(ours, theirs)


LOUD = {  # distillation that moves weights by far more than rounding does
    "jointly": {"when": "jointly", "batch_size": 8, "logit_weight": 1.0, "feature_weight": 1.0},
    "afterwards": AFTERWARDS | {"steps": 30, "learning_rate": 0.02},
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["rounds", "jointly", "afterwards", "8 bits"])
def test_a_seeds_predictors_are_the_same_whatever_other_seeds_there_are(tmp_path, variant):
    changes = {"distillation": LOUD[variant]} if variant in LOUD else VARIANTS[variant]
    teacher = planted_originals("plain", 3) if variant == "afterwards" else None
    _, together = train_seeds(predictor_config(seeds=[3, 0], **changes), tmp_path / "both", teacher)
    _, single = train_seeds(predictor_config(seeds=[0], **changes), tmp_path / "alone", teacher)
    assert not torch.allclose(together[3].weights, together[0].weights, atol=0.1)
    for ours, theirs in zip(together[0], single[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["rounds", "8 bits"])
def test_a_cells_predictors_are_the_same_whatever_other_cells_share_its_job(tmp_path, variant):
    cells, alone = {}, {}
    for cell, kind, changes in (("first", "plain", {}), ("second", "residual", {"seeds": [3, 0], "order": "none"})):
        config = predictor_config(**VARIANTS[variant] | {"zoo": kind} | changes)
        originals = planted_originals(kind, {"plain": 3, "residual": 2}[kind])
        task, alone[cell] = train_seeds(config, tmp_path / cell, originals=originals)
        cells[cell] = TrainedCell(config, task)
    states = {phase: TrainingState(tmp_path / phase, "key") for phase in PHASES}
    together = train_predictors(cells, None, None, states)
    assert {cell: list(seeds) for cell, seeds in together.items()} == {"first": [0], "second": [3, 0]}
    for cell, seeds in together.items():
        for seed, own in seeds.items():
            for ours, theirs in zip(own, alone[cell][seed], strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_predictors_that_diverged_are_named(tmp_path, monkeypatch):
    def ruined(config, target, names, state):
        rounds = reconstruct(config, target, names, state)
        rounds[-1].weights[1:4:2, 5] = float("nan")
        return rounds

    monkeypatch.setattr(module, "reconstruct", ruined)
    with pytest.raises(InputError, match="diverged: cell, seed 3, original 1; cell, seed 0, original 1: lower"):
        train_seeds(predictor_config(seeds=[3, 0]), tmp_path)


# files


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_networks_are_those_of_the_files_and_the_originals_in_all_that_is_not_predicted(tmp_path, variant):
    config = predictor_config(**VARIANTS[variant])
    task, predicted = train(config, tmp_path)
    networks = unflatten(task.originals.spec, save_artifacts(config, task, predicted, tmp_path / "new" / "artifacts"))
    originals, names = unflatten(task.originals.spec, task.originals.weights), {part.name for part in task.layout.parts}
    for n in range(2):
        decoded = load_network(tmp_path / "new" / "artifacts" / f"original-{n}.safetensors")
        assert decoded.keys() == networks.keys()
        for name, tensor in decoded.items():
            assert torch.equal(networks[name][n], tensor)
            assert torch.equal(tensor, originals[name][n]) == (name not in names)
    if config.quantization is None:
        wanted = predict_all(spec_of(config, task.target), predicted.weights, task.target.table, task.target.rank)
        assert torch.allclose(to_kernels(task.layout, networks), wanted * task.layout.mask, atol=1e-5)


@pytest.mark.slow
def test_a_wide_predictor_gives_networks_that_answer_as_their_originals(tmp_path):
    config = predictor_config(hidden=64, steps=800, embedding_levels=20, kernel_batch=4096)
    task, predicted = train(config, tmp_path)
    _, values = measured(config, task, predicted, tmp_path / "artifacts")
    for n in range(2):
        assert values["accuracy_predicted", n] == values["accuracy_original", n] > 0.9
        assert (values["agreement", n], values["accuracy_gain", n], values["gained", n], values["lost", n]) == (1, 0, 0, 0)
        assert values["kl", n] < 1e-4
        assert values["relative_error", n] < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["none", "serpentine, linear", "4 bits of all"])
def test_bytes_of_the_parts_are_those_of_the_file(tmp_path, variant):
    config = predictor_config(**VARIANTS[variant])
    task, predicted = train(config, tmp_path)
    _, values = measured(config, task, predicted, tmp_path / "artifacts")
    num_weights = task.originals.weights.shape[1]
    for n in range(2):
        size = os.stat(tmp_path / "artifacts" / f"original-{n}.safetensors").st_size
        parts = [values[f"bytes_{part}", n] for part in ("predictor", "scales", "order", "kept", "header")]
        assert values["bytes", n] == sum(parts) == size
        assert values["bytes_original", n] == 4 * num_weights
        assert values["compression", n] == pytest.approx(4 * num_weights / size)
        kept = num_weights - task.layout.num_weights
        assert values["bytes_kept", n] == 4 * kept
        assert values["num_predictor", n] == predicted.weights.shape[1]
        assert (values["bytes_order", n] == 0) == (variant == "none")


def test_operations_are_counted_by_hand(tmp_path):
    config = predictor_config(linear=True)
    task, predicted = train(config, tmp_path)
    _, values = measured(config, task, predicted, tmp_path / "artifacts")
    convolutions = 4 * 9 * 64 + (5 * 4 * 9 + 5 * 5 * 9 + 5 * 4) * 16  # weights times pixels that they make
    assert values["flops_inference", 0] == 2 * (convolutions + 5 * CLASSES)
    kernels = 4 + 5 * 4 + 5 * 5 + 5 * 4 + CLASSES  # a row of the last layer is one block
    assert values["flops_decode", 0] == 2 * kernels * (36 * 8 + 3 * 8 * 8 + 8 * 9)


# rounds


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["rounds", "serpentine, linear"])
def test_the_last_rounds_networks_are_the_decoded_ones(tmp_path, variant):
    config = predictor_config(**VARIANTS[variant])
    task, predicted = train(config, tmp_path)
    networks, values = measured(config, task, predicted, tmp_path / "artifacts")
    rounds = round_networks(config, data_for(config, task), predicted)
    torch.testing.assert_close(rounds[-1], networks, rtol=0, atol=1e-5)
    assert len(rounds) == config.rounds
    assert {metric for metric, _ in values if metric.startswith("rmse_previous ")} == {
        f"rmse_previous {n}" for n in range(1, config.rounds + 1) if config.rounds > 1
    }
    if config.rounds > 1:
        assert not torch.allclose(rounds[0], rounds[1], atol=1e-3)
        for n in range(2):
            assert values["rmse_weights 3", n] == pytest.approx(values["rmse_weights", n], rel=1e-4)
            assert values["rmse_previous 1", n] == values["rmse_weights 1", n]
            assert abs(values["rmse_previous 3", n] - values["rmse_weights 3", n]) > 1e-4


def test_networks_of_one_original_are_the_same_whatever_other_originals_there_are(tmp_path):
    both = planted_originals()
    first = Originals(both.spec, both.weights[:1], both.models[:1])
    config = predictor_config()
    folders = (tmp_path / "first", tmp_path / "both")
    alone, together = (
        save_artifacts(config, *train(config, folder, originals=originals), folder)
        for folder, originals in zip(folders, (first, both), strict=True)
    )
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-4)
