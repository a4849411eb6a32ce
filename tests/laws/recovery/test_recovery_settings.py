"""Settings of recovery that cannot work stop before the first job, in one sentence; defaults suit the size."""

import pytest
from weightspace.checks import check_scenario
from weightspace.errors import InputError
from weightspace.recovery.settings import StudentsConfig, discrete_units
from weightspace.scenario import Scenario
from weightspace.settings import checked

LINEAR = ["flatten", "linear classes"]
HIDDEN = ["flatten", "linear 4", "activation", "linear classes"]
MADE = {"kind": "synthetic", "inputs": 2, "hidden": [20, 6]}


def scenario(teacher=MADE, queries=(), **changes):
    """A recovery of made-up teachers, or of others."""
    cell = {"teacher": "mine", "seeds": [0], "queries": {"design": "uniform"} | dict(queries)} | changes
    return {"teachers": {"mine": teacher}, "recoveries": {"one": cell}}


def trained(architecture):
    """A recovery of a network of a zoo."""
    zoo = {
        "images": "digits", "architecture": architecture, "inits": ["normal"], "learning_rates": [0.1], "weight_decays": [0.0],
        "num_seeds": 1, "epochs": [1],
    }  # fmt: skip
    return {"images": {"digits": {"source": "bundled_digits"}}, "zoos": {"nets": zoo}} | scenario({"kind": "zoo", "zoo": "nets"})


WRONG = {
    "queries.num: Input should be greater than or equal to 2": scenario(queries={"num": 1}),
    "queries.held_out: Input should be greater than or equal to 2": scenario(queries={"held_out": 1}),
    "queries.output_bits: Input should be less than or equal to 52": scenario(queries={"output_bits": 1024}),
    "hidden: there are 20 different discrete units of 2 inputs, not 21": scenario(MADE | {"hidden": [21]}),
    "hidden: there are 5 different discrete units of 1 inputs, not 6": scenario(MADE | {"hidden": [1, 6]}),
    "students: epochs is 0 and second_order_steps is 0 or not set": scenario(students={"epochs": 0}),
}


@pytest.mark.parametrize(("told", "content"), WRONG.items(), ids=list(WRONG))
def test_a_value_that_cannot_work_is_named(told, content):
    with pytest.raises(InputError) as error:
        checked(Scenario, content, "mine.yaml")
    assert told in str(error.value)


def test_a_network_without_hidden_layers_is_named_before_the_first_job():
    for key, content in {
        "recoveries.one.teacher": trained(LINEAR),
        "recoveries.one.students.architectures": scenario(students={"architectures": [HIDDEN, LINEAR]}),
    }.items():
        with pytest.raises(InputError, match=f"{key}: a network without hidden layers has no units to recover"):
            check_scenario(checked(Scenario, content, "mine.yaml"), "mine")
    for content in (scenario(), trained(HIDDEN), scenario(students={"architectures": [HIDDEN]})):
        check_scenario(checked(Scenario, content, "mine.yaml"), "mine")


def test_as_many_discrete_units_as_there_are_can_be_asked_for():
    assert [discrete_units(fan_in) for fan_in in (1, 2, 3)] == [5, 20, 65]
    assert discrete_units(10**9) > 10**18
    checked(Scenario, scenario(MADE | {"hidden": [20]}), "mine.yaml")
    checked(Scenario, scenario(MADE | {"hidden": [999], "family": "gaussian"}), "mine.yaml")


def test_second_order_is_for_students_of_a_size_that_it_can_train_unless_it_is_asked_for():
    assert [StudentsConfig().second_order_steps_of(size) for size in (100, 2500, 2501, 8554)] == [300, 300, 0, 0]
    assert StudentsConfig(second_order_steps=7).second_order_steps_of(8554) == 7
    assert StudentsConfig(second_order_steps=0).second_order_steps_of(100) == 0
