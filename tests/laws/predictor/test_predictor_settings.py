"""Settings of predictors: what fixes an order has one name, jobs get settings without seeds, absurd numbers stop at once."""

from itertools import combinations

import pytest
from planted_predictors import predictor_config
from weightspace.errors import InputError
from weightspace.predictor.settings import ControlSettings, PredictorConfig, PredictorSettings
from weightspace.settings import checked

ORDERINGS = [
    {"order": "none"},
    {"order": "cross_filter"},
    {"order": "cross_filter", "linear": True},
    {"order": "cross_filter", "kernel_sizes": [], "linear": True},
    {"order": "cross_filter", "kernel_sizes": [1, 3]},
    {"order": "cross_filter", "kernel_sizes": [3], "linear": True},
]


def test_predictors_share_an_orders_name_if_and_only_if_they_share_its_settings():
    for one, other in combinations([predictor_config(**changes) for changes in ORDERINGS], 2):
        assert one.order_name != other.order_name
        assert one.ordering != other.ordering
    wide, narrow = (predictor_config(hidden=hidden, kernel_sizes=sizes) for hidden, sizes in ((9, [3, 1]), (4, [1, 3])))
    assert (wide.order_name, wide.ordering) == (narrow.order_name, narrow.ordering)


def test_a_cell_without_its_seeds_is_what_a_job_of_one_seed_reads():
    cell = predictor_config(controls={"quantized": {"bits": [8, 4]}, "noise": {"seeds": [0]}})
    settings = PredictorSettings(**cell.model_dump(mode="json", exclude={"seeds"}))
    assert {key: getattr(cell, key) for key in PredictorSettings.model_fields} == dict(settings)
    for control in cell.named_controls("held").values():
        read = ControlSettings(**control.model_dump(mode="json", exclude={"seeds"}))
        assert {key: getattr(control, key) for key in ControlSettings.model_fields} == dict(read)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("embedding_base", 1e300, r"embedding_base: to the power of 39 it must not be above 2\^53"),
        ("embedding_levels", 10**6, "embedding_levels: Input should be less than or equal to 1024"),
        ("hidden", 10**8, "hidden: Input should be less than or equal to 16384"),
        ("seeds", [2**63], r"seeds.0: Input should be less than 9223372036854775808"),
        ("seeds", [1, 0, 1], "seeds: names 1 twice"),
        ("seeds", [], "seeds: List should have at least 1 item"),
    ],
)
def test_absurd_numbers_are_one_sentence(key, value, says):
    with pytest.raises(InputError, match=says):
        checked(PredictorConfig, {"zoo": "any", "hidden": 8, "steps": 10, "seeds": [0]} | {key: value}, "predictors.held")
