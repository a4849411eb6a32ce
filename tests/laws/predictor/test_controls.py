"""Controls have the predictor's error or their own bytes, and leave all else of the originals."""

import pytest
import torch
from planted_predictors import (
    PLAIN,
    RESIDUAL,
    planted_images,
    planted_networks,
    planted_originals,
    predictor_config,
    small_recipe,
)
from planted_zoos import stored_zoo
from weightspace.compression.compress import compress_low_rank, compress_pruned, compress_quantized, decompress
from weightspace.ensemble import recalibrated
from weightspace.images.tensors import normalize
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.spec import build_spec
from weightspace.predictor.artifact import load_artifacts, load_network, save_artifacts
from weightspace.predictor.controls import ControlInputs, make_control, measure_control
from weightspace.predictor.equal_error import KINDS
from weightspace.predictor.kernels import layout_of
from weightspace.predictor.measure import evaluation_data
from weightspace.predictor.metrics import METRICS
from weightspace.predictor.orders import order_kernels
from weightspace.predictor.originals import Originals
from weightspace.predictor.settings import ControlSettings
from weightspace.predictor.train import PHASES, TrainedCell, make_task, train_predictors
from weightspace.store import TrainingState
from weightspace.table import Source, write_metrics

SMALL = ["conv 3 3", "batch_norm", "pool 2", "activation", "flatten", "linear classes"]
COMPRESSED = {
    "quantized": ({"bits": 3}, lambda own, names: compress_quantized(own, names, 3)),
    "pruned": ({"kept_share": 0.3}, lambda own, names: compress_pruned(own, names, 0.3)),
    "low_rank": ({"kept_share": 0.4}, lambda own, names: compress_low_rank(own, names, 0.4)),
}
CONTROLS = {kind: {} for kind in (*KINDS, "averaged")} | {kind: change for kind, (change, _) in COMPRESSED.items()}
SOURCE = Source("planted", "predictor_control", "cell", 0)
RECALIBRATED = {f"{name}_recalibrated" for name in ("accuracy", "accuracy_gain", "agreement", "accuracy_original")}


def config_of(kind, **changes):
    return ControlSettings(predictor="any", kind=kind, **changes)


@pytest.fixture(scope="module")
def inputs_of(tmp_path_factory):
    """By kind of originals, what controls of a fair predictor of theirs are made from, and the folder of its files."""
    found = {}
    for kind in ("residual", "plain"):
        folder, originals, images = tmp_path_factory.mktemp(kind), planted_originals(kind), planted_images()
        config = predictor_config(steps=350, hidden=48, embedding_levels=20, kernel_batch=4096)
        rank = order_kernels(originals, layout_of(originals.spec.shapes, None, False), config.order)
        task = make_task(config, originals, rank, torch.device("cpu"))
        states = {phase: TrainingState(folder / phase, "key") for phase in PHASES}
        predicted = train_predictors({"any": TrainedCell(config, task)}, None, None, states)["any"][0]
        save_artifacts(config, task, predicted, folder)
        data, networks = evaluation_data(config, originals, rank, images), load_artifacts(originals, folder)
        zoo = stored_zoo(folder / "zoo", originals.spec, [6], planted_networks(kind)[1], averaged=True)
        found[kind] = (ControlInputs(data, zoo.path, networks, 0, None, None), folder)
    return found


def made(inputs, config, tmp_path, recipe=None, teacher=None):
    inputs = inputs._replace(recipe=recipe, teacher=teacher)
    return make_control(config, inputs, TrainingState(tmp_path / "state", "key"))


def norms(tensor):
    return tensor.double().flatten(1).norm(dim=1)


def share_right(spec, weights, images, labels):
    x = normalize(images.test_x, images).unsqueeze(0)
    return (forward(spec, weights, x).argmax(2) == labels).double().mean(1)


# what controls are made from


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["residual", "plain"])
def test_controls_are_made_from_the_files_networks(inputs_of, kind):
    inputs, folder = inputs_of[kind]
    for n in range(2):
        for name, tensor in load_network(folder / f"original-{n}.safetensors").items():
            assert torch.equal(unflatten(inputs.data.spec, inputs.predicted)[name][n], tensor)


# at equal error


@pytest.mark.slow
@pytest.mark.parametrize("nets", ["residual", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_has_the_predictors_error_and_all_else_is_the_originals(inputs_of, tmp_path, kind, nets):
    inputs, _ = inputs_of[nets]
    control = made(inputs, config_of(kind), tmp_path)
    data, names = inputs.data, {part.name for part in inputs.data.layout.parts}
    assert (control.spec, control.num_bytes) == (data.spec, None)
    ours, theirs, predicted = (unflatten(data.spec, stack) for stack in (control.weights, data.weights, inputs.predicted))
    for name in theirs:
        if name in names:
            error = norms(predicted[name] - theirs[name])
            assert ((error > 0.01 * norms(theirs[name])) & (error < norms(theirs[name]))).all()
            torch.testing.assert_close(norms(ours[name] - theirs[name]), error, rtol=1e-4, atol=0)
            assert not torch.allclose(ours[name], predicted[name], atol=1e-3)
        else:
            assert torch.equal(ours[name], theirs[name])


@pytest.mark.slow
def test_noise_depends_on_the_seed_and_differs_between_originals(inputs_of, tmp_path):
    inputs, _ = inputs_of["residual"]
    one, same, other = (
        made(inputs._replace(seed=seed), config_of("noise"), tmp_path).weights - inputs.data.weights for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    name = inputs.data.layout.parts[0].name
    draws = [unflatten(inputs.data.spec, change)[name][n].flatten() for change in (one, other) for n in range(2)]
    cosines = torch.stack([draw / draw.norm() for draw in draws])
    assert ((cosines @ cosines.T) - torch.eye(4)).abs().max() < 0.7  # of 36 numbers


# averaged


def test_averaged_networks_without_batch_norm_are_the_mean_of_the_last_epochs(inputs_of, tmp_path):
    inputs, _ = inputs_of["plain"]
    _, weights = planted_networks("plain")
    assert torch.equal(made(inputs, config_of("averaged"), tmp_path).weights, weights[:, 1])
    assert not torch.equal(weights[:, 1], inputs.data.weights)


def test_averaged_networks_have_the_running_statistics_of_train_images(inputs_of, tmp_path):
    inputs, _ = inputs_of["residual"]
    control, spec = made(inputs, config_of("averaged"), tmp_path), inputs.data.spec
    before = planted_networks("residual")[1][:, 1]
    for name, tensor in unflatten(spec, control.weights).items():
        assert torch.equal(tensor, unflatten(spec, before)[name]) != ("running" in name)
    images = normalize(inputs.data.images.train_x, inputs.data.images)
    assert torch.equal(control.weights, recalibrated(spec, before, images))
    assert control.num_bytes.tolist() == [4 * inputs.data.weights.shape[1]] * 2


# at so many bytes


@pytest.mark.parametrize("nets", ["residual", "plain"])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_networks_are_what_their_bytes_hold(inputs_of, tmp_path, kind, nets):
    inputs, _ = inputs_of[nets]
    change, compress = COMPRESSED[kind]
    control, names = made(inputs, config_of(kind, **change), tmp_path), [part.name for part in inputs.data.layout.parts]
    for n in range(2):
        own = {name: tensor[n] for name, tensor in unflatten(inputs.data.spec, inputs.data.weights).items()}
        blob = compress(own, names).blob
        assert control.num_bytes[n] == len(blob)
        assert torch.equal(control.weights[n], flatten(inputs.data.spec, decompress(blob)))
        for name, tensor in unflatten(inputs.data.spec, control.weights[n]).items():
            assert torch.equal(tensor, own[name]) == (name not in names)


# small networks


@pytest.mark.slow
def test_small_networks_learn_what_originals_answer_and_have_a_spec_of_their_own(inputs_of, tmp_path):
    inputs, _ = inputs_of["residual"]
    control = made(inputs, config_of("small", architecture=SMALL), tmp_path, small_recipe(SMALL, epochs=20))
    assert control.spec == build_spec(SMALL, "relu", (1, 8, 8), 3)
    assert control.weights.shape == (2, control.spec.num_weights)
    assert ((control.num_bytes > 3 * control.spec.num_weights) & (control.num_bytes < 4 * control.spec.num_weights + 1000)).all()
    images = inputs.data.images
    assert (share_right(control.spec, control.weights, images, images.test_y) > 0.8).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_teachers", [1, 2, 3])
def test_small_networks_learn_from_another_teacher_each_from_its_own(inputs_of, tmp_path, num_teachers):
    inputs, _ = inputs_of["residual"]
    own, shifts = planted_originals("plain", 3), torch.tensor([1, 2, 0])[:num_teachers]
    weights = own.weights[:1].expand(num_teachers, -1).clone()
    for n, shift in enumerate(shifts.tolist()):  # teachers that call each class by another's name
        parameters = unflatten(own.spec, weights[n])
        for name in [name for name in parameters if name.startswith("linear")][-2:]:
            parameters[name].copy_(parameters[name].roll(shift, 0))
    teacher = Originals(own.spec, weights, list(range(num_teachers)))
    config = config_of("small", architecture=SMALL, teacher="others")
    control = made(inputs, config, tmp_path, small_recipe(SMALL, epochs=25), teacher)
    for n in range(2):
        labels = (inputs.data.images.test_y + shifts[n % num_teachers]) % 3
        right = share_right(control.spec, control.weights[n : n + 1], inputs.data.images, labels)
        assert float(right) > 0.8


# rows


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*CONTROLS, "small", "small of the same spec"])
def test_rows_of_a_control_are_of_answers_and_of_weights_and_bytes_where_it_has_some(inputs_of, tmp_path, kind):
    inputs, _ = inputs_of["residual"]
    architectures = {"small": SMALL, "small of the same spec": RESIDUAL}
    small = kind in architectures
    config = config_of("small", architecture=architectures[kind]) if small else config_of(kind, **CONTROLS[kind])
    state = TrainingState(tmp_path / "state", "key")
    recipe = small_recipe(architectures[kind], epochs=2) if small else None
    rows = measure_control(SOURCE, config, inputs._replace(recipe=recipe), state)
    write_metrics(tmp_path / "metrics.parquet", rows, METRICS)  # which knows all metrics
    metrics = {row["metric"] for row in rows}
    assert {"accuracy_predicted", "accuracy_gain", "agreement", "kl"} <= metrics
    assert ("relative_error" in metrics) == (not small)
    assert ("bytes" in metrics) == ("compression" in metrics) == (kind not in KINDS)
    assert {row["subject"] for row in rows} == {"0", "1"}
    assert len(rows) == 2 * len({(row["metric"], row["at"]) for row in rows})


@pytest.mark.slow
@pytest.mark.parametrize("nets", ["residual", "plain"])
@pytest.mark.parametrize("kind", [*CONTROLS, "small with batch norms", "small without"])
def test_controls_with_batch_norms_are_measured_recalibrated_and_others_are_not(inputs_of, tmp_path, kind, nets):
    inputs, _ = inputs_of[nets]
    architecture = {"small with batch norms": SMALL, "small without": PLAIN}.get(kind)
    config = config_of("small", architecture=architecture) if architecture else config_of(kind, **CONTROLS[kind])
    state = TrainingState(tmp_path / "state", "key")
    recipe = small_recipe(architecture, epochs=2) if architecture else None
    rows = measure_control(SOURCE, config, inputs._replace(recipe=recipe), state)
    values = {(row["metric"], row["subject"]): row["value"] for row in rows}
    normed = architecture == SMALL if architecture else nets == "residual"
    assert RECALIBRATED & {name for name, _ in values} == (RECALIBRATED if normed else set())
    for n in "01" * normed:
        gain = values["accuracy_recalibrated", n] - values["accuracy_original", n]
        assert values["accuracy_gain_recalibrated", n] == pytest.approx(gain)
        if kind == "averaged":  # which has these statistics
            assert values["accuracy_recalibrated", n] == values["accuracy_predicted", n]
