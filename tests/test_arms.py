"""Controls have the predictor's error or their own bytes, and leave all else of the originals."""

import pytest
import torch
from planted_predictors import PLAIN, RESIDUAL, planted_images, planted_originals, predictor_config, recipe_of
from weightspace.config import PredictorControlConfig
from weightspace.images import normalize
from weightspace.metrics import Source, write_metrics
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.spec import build_spec
from weightspace.predictor.arms import make_control, measure_control, stand_of
from weightspace.predictor.artifact import load_network
from weightspace.predictor.compress import compress_low_rank, compress_pruned, compress_quantized, decompress
from weightspace.predictor.controls import KINDS
from weightspace.predictor.job import PHASES, make_task, order_originals, save_artifacts, train_predictors
from weightspace.predictor.originals import Originals, recalibrated
from weightspace.store import TrainingState

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
    return PredictorControlConfig(predictor="any", kind=kind, **changes)


@pytest.fixture(scope="module")
def stands(tmp_path_factory):
    """By kind of originals, what a fair predictor of theirs leaves behind."""
    found = {}
    for kind in ("residual", "plain"):
        folder, originals = tmp_path_factory.mktemp(kind), planted_originals(kind)
        config = predictor_config(steps=350, hidden=48, embedding_levels=20, kernel_batch=4096)
        task = make_task(config, originals, torch.device("cpu"), order_originals(config, originals, folder / "orders"))
        states = {phase: TrainingState(folder / phase, "key") for phase in PHASES}
        predicted = train_predictors({"any": (config, task)}, None, None, states)["any"][0]
        save_artifacts(config, task, predicted, folder)
        found[kind] = (stand_of(config, originals, predicted.rank, planted_images(), folder), folder)
    return found


def made(stand, config, tmp_path, learning=None):
    return make_control(config, stand, learning or (recipe_of(RESIDUAL), None), TrainingState(tmp_path / "state", "key"))


def norms(tensor):
    return tensor.double().flatten(1).norm(dim=1)


def share_right(spec, weights, images, labels):
    x = normalize(images.test_x, images).unsqueeze(0)
    return (forward(spec, weights, x).argmax(2) == labels).double().mean(1)


# what controls are made from


@pytest.mark.parametrize("kind", ["residual", "plain"])
def test_a_stand_has_the_files_networks(stands, kind):
    stand, folder = stands[kind]
    for n in range(2):
        for name, tensor in load_network(folder / f"original-{n}.safetensors").items():
            assert torch.equal(unflatten(stand.bench.spec, stand.predicted)[name][n], tensor)


# at equal error


@pytest.mark.parametrize("nets", ["residual", "plain"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_has_the_predictors_error_and_all_else_is_the_originals(stands, tmp_path, kind, nets):
    stand, _ = stands[nets]
    control = made(stand, config_of(kind), tmp_path)
    bench, names = stand.bench, {part.name for part in stand.bench.layout.parts}
    assert (control.spec, control.num_bytes) == (bench.spec, None)
    ours, theirs, predicted = (unflatten(bench.spec, stack) for stack in (control.weights, bench.weights, stand.predicted))
    for name in theirs:
        if name in names:
            error = norms(predicted[name] - theirs[name])
            assert ((error > 0.01 * norms(theirs[name])) & (error < norms(theirs[name]))).all()
            torch.testing.assert_close(norms(ours[name] - theirs[name]), error, rtol=1e-4, atol=0)
            assert not torch.allclose(ours[name], predicted[name], atol=1e-3)
        else:
            assert torch.equal(ours[name], theirs[name])


def test_noise_hangs_on_the_seed_and_differs_between_originals(stands, tmp_path):
    stand, _ = stands["residual"]
    one, same, other = (
        made(stand._replace(seed=seed), config_of("noise"), tmp_path).weights - stand.bench.weights for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    name = stand.bench.layout.parts[0].name
    draws = [unflatten(stand.bench.spec, change)[name][n].flatten() for change in (one, other) for n in range(2)]
    cosines = torch.stack([draw / draw.norm() for draw in draws])
    assert ((cosines @ cosines.T) - torch.eye(4)).abs().max() < 0.7  # of 36 numbers


# averaged


def test_averaged_networks_without_batch_norm_are_the_mean_of_the_last_epochs(stands, tmp_path):
    stand, _ = stands["plain"]
    assert torch.equal(made(stand, config_of("averaged"), tmp_path).weights, planted_originals("plain").averaged)
    assert not torch.equal(planted_originals("plain").averaged, stand.bench.weights)


def test_averaged_networks_have_the_running_statistics_of_train_images(stands, tmp_path):
    stand, _ = stands["residual"]
    control, spec = made(stand, config_of("averaged"), tmp_path), stand.bench.spec
    before = stand.originals.averaged
    for name, tensor in unflatten(spec, control.weights).items():
        assert torch.equal(tensor, unflatten(spec, before)[name]) != ("running" in name)
    images = normalize(stand.bench.images.train_x, stand.bench.images)
    assert torch.equal(control.weights, recalibrated(spec, before, images))
    assert control.num_bytes.tolist() == [4 * stand.bench.weights.shape[1]] * 2


# at so many bytes


@pytest.mark.parametrize("nets", ["residual", "plain"])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_networks_are_what_their_bytes_hold(stands, tmp_path, kind, nets):
    stand, _ = stands[nets]
    change, compress = COMPRESSED[kind]
    control, names = made(stand, config_of(kind, **change), tmp_path), [part.name for part in stand.bench.layout.parts]
    for n in range(2):
        own = {name: tensor[n] for name, tensor in unflatten(stand.bench.spec, stand.bench.weights).items()}
        blob = compress(own, names).blob
        assert control.num_bytes[n] == len(blob)
        assert torch.equal(control.weights[n], flatten(stand.bench.spec, decompress(blob)))
        for name, tensor in unflatten(stand.bench.spec, control.weights[n]).items():
            assert torch.equal(tensor, own[name]) == (name not in names)


# small networks


def test_small_networks_learn_what_originals_answer_and_have_a_spec_of_their_own(stands, tmp_path):
    stand, _ = stands["residual"]
    control = made(stand, config_of("small", architecture=SMALL), tmp_path, (recipe_of(RESIDUAL, num=5, epochs=20), None))
    assert control.spec == build_spec(SMALL, "relu", (1, 8, 8), 3)
    assert control.weights.shape == (2, control.spec.num_weights)
    assert ((control.num_bytes > 3 * control.spec.num_weights) & (control.num_bytes < 4 * control.spec.num_weights + 1000)).all()
    images = stand.bench.images
    assert (share_right(control.spec, control.weights, images, images.test_y) > 0.8).all()


@pytest.mark.parametrize("num_teachers", [1, 2, 3])
def test_small_networks_learn_from_another_teacher_each_from_its_own(stands, tmp_path, num_teachers):
    stand, _ = stands["residual"]
    own, shifts = planted_originals("plain", 3), torch.tensor([1, 2, 0])[:num_teachers]
    weights = own.weights[:1].expand(num_teachers, -1).clone()
    for n, shift in enumerate(shifts.tolist()):  # teachers that call each class by another's name
        parameters = unflatten(own.spec, weights[n])
        for name in [name for name in parameters if name.startswith("linear")][-2:]:
            parameters[name].copy_(parameters[name].roll(shift, 0))
    teacher = Originals(own.spec, weights, weights)
    config = config_of("small", architecture=PLAIN, teacher="others")
    control = made(stand, config, tmp_path, (recipe_of(RESIDUAL, epochs=25), teacher))
    for n in range(2):
        labels = (stand.bench.images.test_y + shifts[n % num_teachers]) % 3
        right = share_right(control.spec, control.weights[n : n + 1], stand.bench.images, labels)
        assert float(right) > 0.8


# rows


@pytest.mark.parametrize("kind", [*CONTROLS, "small", "small of the same spec"])
def test_rows_of_a_control_are_of_answers_and_of_weights_and_bytes_where_it_has_some(stands, tmp_path, kind):
    stand, _ = stands["residual"]
    architectures = {"small": SMALL, "small of the same spec": RESIDUAL}
    small = kind in architectures
    config = config_of("small", architecture=architectures[kind]) if small else config_of(kind, **CONTROLS[kind])
    state = TrainingState(tmp_path / "state", "key")
    rows = measure_control(SOURCE, config, stand, (recipe_of(RESIDUAL, epochs=2), None), state)
    write_metrics(tmp_path / "metrics.parquet", rows)  # which knows all metrics
    metrics = {row["metric"] for row in rows}
    assert {"accuracy_predicted", "accuracy_gain", "agreement", "kl"} <= metrics
    assert ("relative_error" in metrics) == (not small)
    assert ("bytes" in metrics) == ("compression" in metrics) == (kind not in KINDS)
    assert {row["subject"] for row in rows} == {"0", "1"}
    assert len(rows) == 2 * len(metrics)


@pytest.mark.parametrize("nets", ["residual", "plain"])
@pytest.mark.parametrize("kind", [*CONTROLS, "small with batch norms", "small without"])
def test_controls_with_batch_norms_are_measured_recalibrated_and_others_are_not(stands, tmp_path, kind, nets):
    stand, _ = stands[nets]
    architecture = {"small with batch norms": SMALL, "small without": PLAIN}.get(kind)
    config = config_of("small", architecture=architecture) if architecture else config_of(kind, **CONTROLS[kind])
    state = TrainingState(tmp_path / "state", "key")
    rows = measure_control(SOURCE, config, stand, (recipe_of(RESIDUAL, epochs=2), None), state)
    values = {(row["metric"], row["subject"]): row["value"] for row in rows}
    normed = architecture == SMALL if architecture else nets == "residual"
    assert RECALIBRATED & {name for name, _ in values} == (RECALIBRATED if normed else set())
    for n in "01" * normed:
        gain = values["accuracy_recalibrated", n] - values["accuracy_original", n]
        assert values["accuracy_gain_recalibrated", n] == pytest.approx(gain)
        if kind == "averaged":  # which has these statistics
            assert values["accuracy_recalibrated", n] == values["accuracy_predicted", n]
