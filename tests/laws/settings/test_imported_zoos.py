"""A scenario whose zoo exists already: what it may leave open, and what it is told before the first job."""

import pytest
from small_scenario import read, scenario_content
from weightspace.checks import check_scenario
from weightspace.errors import InputError
from weightspace.settings import settings_hash
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.sources import CheckpointsConfig

IMPORTED = {"source": "checkpoints", "path": "mine"}


def content(zoo=None):
    """An imported zoo with an autoencoder."""
    learner = {"zoo": "mine", "seeds": [0], "structure_weight": 1.0, "contrast_weight": 0.1, "steps": 3}
    sections = {"images": scenario_content()["images"], "teachers": {}, "recoveries": {}}
    return sections | {"zoos": {"mine": IMPORTED | (zoo or {})}, "autoencoders": {"plain": learner}}


def problems(folder, spoiled):
    with pytest.raises(InputError) as error:
        check_scenario(read(folder, spoiled), "mine")
    return str(error.value)


def test_three_lines_are_a_zoo_and_images_are_left_open(tmp_path):
    scenario = read(tmp_path, content())
    check_scenario(scenario, "mine")
    zoo = scenario.zoos["mine"]
    assert isinstance(zoo, CheckpointsConfig)
    assert (zoo.images, zoo.epochs, zoo.architecture) == (None, None, None)
    assert [row["of"] for row in scenario.cells("mine") if row["stage"] == "zoo"] == [None]


def test_a_zoo_without_a_source_is_trained_and_its_jobs_are_what_they_were(tmp_path):
    zoo = read(tmp_path, scenario_content()).zoos["digits"]
    assert isinstance(zoo, ZooConfig)
    assert "source" not in zoo.model_dump(mode="json")
    named = scenario_content()
    named["zoos"]["digits"]["source"] = "trained"
    again = read(tmp_path, named).zoos["digits"]
    assert settings_hash(again.model_dump(mode="json")) == settings_hash(zoo.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("zoo", "told"),
    [
        ({"source": "elsewhere"}, "zoos.mine: source must be trained or checkpoints"),
        ({"inits": ["normal"]}, "zoos.mine.inits: there is no such setting"),
        ({"path": ""}, "zoos.mine.path: String should have at least 1 character"),
        ({"epochs": [3, 1]}, "zoos.mine: epochs must increase"),
        ({"val_share": 0.5, "test_share": 0.5}, "zoos.mine: val_share + test_share must be below 1"),
        ({"images": "digits", "image_size": 8}, "zoos.mine: image_size is for zoos without images"),
        ({"images": "faces"}, "zoos.mine.images: there is no cell 'faces' in images, only digits"),
        ({"layers": ["a", "a"]}, "zoos.mine.layers: names 'a' twice"),
    ],
)
def test_a_wrong_setting_of_an_imported_zoo_is_named(tmp_path, zoo, told):
    with pytest.raises(InputError) as error:
        read(tmp_path, content(zoo))
    assert str(error.value).endswith(told)


def test_a_loss_on_behavior_needs_images_before_the_first_job(tmp_path):
    spoiled = content()
    spoiled["autoencoders"]["plain"]["behavior_weight"] = 0.1
    told = "autoencoders.plain.behavior_weight: zoo 'mine' has no images to ask its networks about: give it `images`"
    assert problems(tmp_path, spoiled).endswith(told)
    spoiled["zoos"]["mine"]["images"] = "digits"
    check_scenario(read(tmp_path, spoiled), "mine")


def test_originals_may_be_of_an_imported_zoo_and_small_networks_are_then_nobodys(tmp_path):
    known = content({"images": "digits"})
    known["predictors"] = {"held": {"zoo": "mine", "models": [0, 900], "epoch": 2, "seeds": [0], "hidden": 4, "steps": 3}}
    known["predictors"]["held"]["controls"] = {"noise": {}}
    scenario = read(tmp_path, known)
    check_scenario(scenario, "mine")
    assert scenario.small_recipe("held_noise") is None
    known["predictors"]["held"]["controls"] = {"averaged": {}, "small": {"architecture": "mlp"}}
    told = problems(tmp_path, known)
    assert "predictors.held.controls.averaged: zoo 'mine' keeps no mean weights" in told
    assert "predictors.held.controls.small: zoo 'mine' is not trained here" in told


def test_members_of_a_zoo_without_images_are_no_teachers(tmp_path):
    spoiled = content()
    spoiled["teachers"]["member"] = {"kind": "zoo", "zoo": "mine", "models": [0, 900], "epoch": 2}
    assert "teachers.member.zoo: zoo 'mine' has no images, which tell whether" in problems(tmp_path, spoiled)
    spoiled["zoos"]["mine"]["images"] = "digits"
    spoiled["recoveries"]["member"] = {"teacher": "member", "seeds": [0], "queries": {"design": "uniform"}}
    check_scenario(read(tmp_path, spoiled), "mine")


def test_epochs_that_are_read_must_be_among_those_that_are_named(tmp_path):
    spoiled = content({"epochs": [5, 9]})
    check_scenario(read(tmp_path, spoiled), "mine")
    spoiled["autoencoders"]["plain"]["epochs"] = [7]
    with pytest.raises(InputError, match="autoencoders.plain.epochs: zoo 'mine' keeps no epoch 7"):
        read(tmp_path, spoiled)
    spoiled["zoos"]["mine"]["epochs"] = None
    check_scenario(read(tmp_path, spoiled), "mine")


def test_networks_that_the_settings_tell_are_checked_before_the_first_job(tmp_path):
    known = content({"images": "digits", "architecture": ["conv 9 9", "flatten", "linear classes"]})
    told = problems(tmp_path, known)
    assert "zoos.mine.architecture: layer 'conv 9 9' does not fit its input of 8 x 8 pixels" in told
    assert "autoencoders.plain.zoo" not in told
    known["zoos"]["mine"]["architecture"] = ["flatten", "linear classes"]
    known["autoencoders"]["plain"]["align"] = True
    told = problems(tmp_path, known)
    assert "autoencoders.plain.views: networks of zoo 'mine' have no hidden layers to permute" in told
    assert "autoencoders.plain.align: networks of zoo 'mine' have no hidden layers to align" in told
    known["zoos"]["mine"]["architecture"] = None
    known["autoencoders"]["plain"]["position_tables"] = {"sequence": 1, "layer": 1, "unit": 1}
    check_scenario(read(tmp_path, known), "mine")
    known["zoos"]["mine"]["architecture"] = "mlp"
    assert (
        "autoencoders.plain.position_tables.layer: 1 rows are too few for 3 positions of the networks of zoo 'mine'"
        in problems(tmp_path, known)
    )
    del known["zoos"]["mine"]["images"]
    check_scenario(read(tmp_path, known), "mine")


def test_members_that_the_settings_tell_to_be_no_chains_are_no_teachers(tmp_path):
    with_norms = ["conv 4 3", "batch_norm", "activation", "flatten", "linear classes"]
    known = content({"images": "digits", "architecture": with_norms})
    known |= {"autoencoders": {}, "teachers": {"member": {"kind": "zoo", "zoo": "mine", "models": [0], "epoch": 2}}}
    known["recoveries"] = {"member": {"teacher": "member", "seeds": [0], "queries": {"design": "uniform"}}}
    assert "teachers.member.zoo: recovery reads chains without batch norm" in problems(tmp_path, known)
