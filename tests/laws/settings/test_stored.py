"""Which weights of a zoo are stored, and how much disk they take, is known from the settings."""

import pytest
import torch
from planted_zoos import stored_zoo
from small_scenario import changed, read
from weightspace.errors import InputError
from weightspace.nets.spec import build_spec
from weightspace.stored import num_stored, stored_epochs, told_sizes, weights_mb, weights_read_mb


def scenario_of(folder, epochs, **zoo):
    """The small scenario, whose autoencoder, baseline and teachers read one epoch each."""
    content = changed("zoos.digits.epochs", [0, 1, 2, 3, 4, 5])
    content["zoos"]["digits"] |= zoo
    content["autoencoders"]["plain"]["epochs"] = [epochs[0]]
    content["baselines"] = {"pca": {"zoo": "digits", "epochs": [epochs[1]], "kind": "pca", "numbers": 3}}
    content["teachers"]["member"]["epoch"] = epochs[2]
    content["zoos"]["unread"] = content["zoos"]["digits"] | {"weights": "read"}
    return read(folder, content)


@pytest.mark.parametrize("epochs", [(1, 2, 4), (4, 4, 4), (5, 0, 5)], ids=str)
def test_weights_are_stored_of_epochs_that_something_reads_and_of_the_last(tmp_path, epochs):
    scenario = scenario_of(tmp_path, epochs)
    assert stored_epochs(scenario, "digits") == sorted({*epochs, 5})
    assert stored_epochs(scenario, "unread") == [5]


@pytest.mark.parametrize(("weights", "stored"), [("all", [0, 1, 2, 3, 4, 5]), ([4, 1, 2], [1, 2, 4])], ids=str)
def test_a_zoo_may_say_itself_which_are_stored(tmp_path, weights, stored):
    assert stored_epochs(scenario_of(tmp_path, (1, 2, 4), weights=weights), "digits") == stored


WRONG = {
    "read and not stored": ([2, 4], "autoencoders.plain.epochs: zoo 'digits' keeps no epoch 1"),
    "not measured": ([1, 2, 4, 7], "weights must be among epochs"),
    "twice": ([1, 1, 2, 4], "names 1 twice"),
    "none": ([], "zoos.digits.weights: .* at least 1 item"),
    "a word": ("some", "zoos.digits.weights: Input should be 'read' or 'all'"),
}


@pytest.mark.parametrize(("weights", "told"), WRONG.values(), ids=WRONG)
def test_weights_that_are_read_and_not_stored_are_one_sentence(tmp_path, weights, told):
    with pytest.raises(InputError, match=told) as error:
        scenario_of(tmp_path, (1, 2, 4), weights=weights)
    assert "\n" not in str(error.value)


def test_the_size_is_that_of_the_files_without_their_headers(tmp_path):
    scenario = scenario_of(tmp_path, (1, 2, 4))
    zoo = scenario.zoos["digits"]
    spec = build_spec(zoo.architecture, zoo.activation, (1, 8, 8), 10)
    epochs = stored_epochs(scenario, "digits")
    stored = stored_zoo(tmp_path / "zoo", spec, epochs, torch.zeros(zoo.num_models, len(epochs), spec.num_weights), [1, 3])
    contents = [part.path.read_bytes() for part in stored.parts]
    on_disk = sum(len(content) - 8 - int.from_bytes(content[:8], "little") for content in contents)
    assert weights_mb(scenario, "digits", zoo.num_models, len(epochs)) == pytest.approx(on_disk / 1e6, rel=1e-12)


def test_a_zoo_of_resnets_is_told_with_its_size_and_that_the_disk_is_too_small(tmp_path):
    """An epoch of 200 of 11,175,370 learned weights (gray, 10 classes) and 9,600 running statistics takes 8.95 GB."""
    scenario = scenario_of(tmp_path, (4, 4, 4), architecture="resnet18", num_seeds=200)
    (told,) = told_sizes(scenario, ["digits"], 30e9)
    assert told == "zoo 'digits': 200 models, weights of 2 of 6 measured epochs (4, 5): 17.9 GB on disk"
    (told,) = told_sizes(scenario, ["digits"], 5e9)
    assert told.endswith("17.9 GB on disk, where only 5.0 GB are free")
    assert [line.partition(":")[0] for line in told_sizes(scenario, ["unread", "digits"], 1e12)] == [
        "zoo 'digits'",
        "zoo 'unread'",
    ]


def test_who_takes_networks_at_no_named_epoch_reads_the_last_and_the_mean_of_epochs_takes_disk_too(tmp_path):
    content = changed("zoos.digits.epochs", [0, 1, 2, 3, 4, 5])
    content["teachers"]["member"] = {"kind": "zoo", "zoo": "digits"}
    content["predictors"]["own"] |= {"zoo": "digits", "epoch": 1}
    content["zoos"]["nets"] |= {"epochs": [2, 3], "averaged_epochs": 2}
    scenario = read(tmp_path, content)
    assert ("teachers.member.epoch", "digits", [5]) in scenario.read_of_zoos
    assert ("predictors.held.distillation.teacher", "nets", [3]) in scenario.read_of_zoos
    assert stored_epochs(scenario, "digits") == [1, 2, 5]  # 2 of the autoencoder
    assert (stored_epochs(scenario, "nets"), num_stored(scenario, "nets")) == ([3], 2)
    (told,) = told_sizes(scenario, ["nets"], 1e12)
    assert "weights of 1 of 2 measured epochs (3), and the mean of the last 2: 9.6 kB on disk" in told  # 2 x 1,194 weights
    content["zoos"]["digits"]["weights"] = [1, 2]
    assert ("teachers.member.epoch", "digits", [2]) in read(tmp_path, content).read_of_zoos


def test_a_cell_that_names_no_epochs_reads_all_of_a_trained_zoo(tmp_path):
    content = changed("zoos.digits.epochs", [0, 1, 2])
    del content["autoencoders"]["plain"]["epochs"]
    scenario = read(tmp_path, content)
    assert stored_epochs(scenario, "digits") == [0, 1, 2]
    num = scenario.zoos["digits"].num_models
    assert weights_read_mb(scenario, scenario.autoencoders["plain"]) == weights_mb(scenario, "digits", num, 3)
    content["zoos"]["digits"]["weights"] = [1, 2]
    assert stored_epochs(read(tmp_path, content), "digits") == [1, 2]


def test_a_cell_of_several_zoos_reads_all_of_them(tmp_path):
    content = changed("zoos.digits.epochs", [0, 1, 2])
    content["zoos"]["mlps"] = content["zoos"]["digits"] | {"architecture": "mlp"}
    content["autoencoders"]["plain"]["zoo"] = ["digits", "mlps"]
    scenario = read(tmp_path, content)
    sizes = [weights_mb(scenario, name, scenario.zoos[name].num_models, 1) for name in ("digits", "mlps")]
    assert weights_read_mb(scenario, scenario.autoencoders["plain"]) == pytest.approx(sum(sizes))
    assert stored_epochs(scenario, "mlps") == [2]


@pytest.mark.parametrize("zoo", [{}, {"images": "digits", "architecture": "mlp", "epochs": [1, 2]}], ids=["open", "said"])
def test_the_size_of_an_imported_zoo_is_not_told(tmp_path, zoo):
    content = changed("zoos.mine", {"source": "checkpoints", "path": "mine"} | zoo)
    content["autoencoders"]["plain"] |= {"zoo": "mine", "epochs": [1, 2]}
    scenario = read(tmp_path, content)
    assert weights_read_mb(scenario, scenario.autoencoders["plain"]) == 0
