"""Generated networks in a scenario: their cells and rivals, and one sentence for each setting that does not fit."""

import pytest
from small_scenario import changed, read, scenario_content
from weightspace.checks import check_scenario
from weightspace.errors import InputError

CELL = {"autoencoder": "plain", "seeds": [0], "num": 4}
RIVALS = {"scratch": {}, "soup": {"members": [2, 16]}, "noise": {"size": [0.05, 1.0]}, "raw": {"kind": "soup", "members": 3}}


def with_cell(**changes):
    return changed("generations", {"new": CELL | changes})


def test_rivals_are_cells_named_after_their_networks_kind_and_number(tmp_path):
    scenario = read(tmp_path, with_cell(rivals=RIVALS, label="New"))
    assert set(scenario.generation_rivals) == {
        "new_scratch", "new_soup_2", "new_soup_16", "new_noise_0_05", "new_noise_1", "new_raw_3"
    }  # fmt: skip
    rows = {row["cell"]: row for row in scenario.cells("mine")}
    assert (
        rows["new_raw_3"].items()
        >= {"kind": "soup", "of": "new", "members": 3.0, "num": 4.0, "stage": "generation_rival"}.items()
    )
    assert rows["new_soup_16"]["label"] == "New, soup 16"
    assert rows["new"].items() >= {"kind": "kde_token", "of": "plain", "label": "New", "bandwidth": 0.2}.items()
    assert ("generation", "new", 0) in scenario.measured()
    assert not any(stage == "generation_rival" for stage, *_ in scenario.measured())  # their rows stand in its table


def test_weights_of_the_epoch_of_the_anchors_are_stored(tmp_path):
    content = with_cell(epoch=0)
    assert ("generations.new.epoch", "digits", [0]) in read(tmp_path, content).read_of_zoos
    content["generations"]["new"]["epoch"] = 1
    with pytest.raises(InputError, match=r"generations\.new\.epoch: zoo 'digits' keeps no epoch 1$"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"autoencoder": "other"}, r"generations\.new\.autoencoder: there is no cell 'other' in autoencoders, only plain"),
        ({"seeds": [0, 4]}, r"generations\.new\.seeds: the autoencoder has no seed 4"),
        ({"zoo": "nets"}, r"generations\.new\.zoo: the autoencoder has digits, not 'nets'"),
        ({"draws": 3}, r"generations\.new: draws 3 are fewer than num 4"),
        ({"components": 2}, r"generations\.new: components is of kde_pca"),
        ({"bootstrap": {"keep": 5}}, r"generations\.new: bootstrap.keep 5 is more than the 4 samples of a round"),
        ({"fine_tune": {"epochs": [1, 2]}}, r"generations\.new\.fine_tune: epochs must begin with 0 and increase"),
        ({"fine_tune": {"epochs": [0, 2, 2]}}, r"generations\.new\.fine_tune: epochs must begin with 0 and increase"),
        ({"rivals": {"soup": {}}}, r"generations\.new: rivals.soup: noise needs size, soup needs members"),
        ({"rivals": {"scratch": {"size": 0.1}}}, r"generations\.new: rivals.scratch: noise needs size"),
        ({"rivals": {"odd": {}}}, r"generations\.new: rivals.odd: "),
        ({"rivals": {"soup": {"members": [2]}, "soup_2": {"kind": "scratch"}}}, "rivals: two have the name 'soup_2'"),
        ({"sampler": "kde"}, r"generations\.new\.sampler: Input should be"),
    ],
    ids=str,
)
def test_a_setting_that_does_not_fit_is_named(tmp_path, changes, told):
    with pytest.raises(InputError, match=told) as error:
        read(tmp_path, with_cell(**changes))
    assert "\n" not in str(error.value)


def test_a_rival_may_not_have_the_name_of_another_cell(tmp_path):
    content = with_cell(rivals={"scratch": {}})
    content["generations"]["new_scratch"] = CELL
    with pytest.raises(InputError, match=r"generations\.new\.rivals: a cell has the name 'new_scratch' too"):
        read(tmp_path, content)


def test_networks_are_not_generated_where_there_are_no_images_to_choose_them_by(tmp_path):
    content = scenario_content()
    content["zoos"]["digits"]["num_seeds"] = 40
    content["zoos"]["mine"] = {"source": "checkpoints", "path": "mine"}
    content["autoencoders"]["mine"] = content["autoencoders"]["plain"] | {"zoo": "mine", "epochs": None}
    content["generations"] = {"new": CELL | {"autoencoder": "mine"}}
    with pytest.raises(InputError, match=r"generations\.new\.autoencoder: zoo 'mine' has no images to choose networks by"):
        check_scenario(read(tmp_path, content), "mine")
