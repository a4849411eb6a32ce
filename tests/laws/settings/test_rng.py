"""Seeds: the same identity, the same numbers, in every process."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from weightspace.rng import generator_for, seed_for

LIBRARY = ROOT / "workflow" / "scripts"
IDENTITY = st.lists(st.one_of(st.integers(), st.text(max_size=5), st.floats(allow_nan=False)), min_size=1, max_size=4)


def test_a_seed_is_the_one_that_the_style_guide_publishes():
    assert seed_for("zoo", "mnist", 7) == 2180495107


@pytest.mark.slow
@pytest.mark.parametrize("salt", ["0", "4711"])
def test_a_seed_is_the_same_in_a_process_with_another_hash_salt(salt):
    code = "from weightspace.rng import seed_for; print(seed_for('zoo', 0.001, 7), hash('zoo'))"
    environment = os.environ | {"PYTHONHASHSEED": salt, "PYTHONPATH": str(LIBRARY)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seed, salted = map(int, run.stdout.split())
    assert seed == seed_for("zoo", 0.001, 7)
    assert salted != hash("zoo")  # else the other salt would show nothing


@pytest.mark.slow
@given(IDENTITY, IDENTITY)
def test_seeds_lie_below_2_to_the_32_and_differ_where_identities_do(ours, theirs):
    assert 0 <= seed_for(*ours) < 2**32
    assert (seed_for(*ours) == seed_for(*theirs)) == (repr(ours) == repr(theirs))


def test_parts_of_an_identity_do_not_run_into_each_other():
    assert len({seed_for("a", "bc"), seed_for("ab", "c"), seed_for("abc"), seed_for("a", 1), seed_for("a", "1")}) == 5


def test_generators_of_one_identity_agree_and_leave_the_ambient_numbers_alone():
    before = torch.random.get_rng_state()
    ours, again, other = (torch.rand(9, generator=generator_for("a", n)) for n in (1, 1, 2))
    assert torch.equal(ours, again)
    assert not torch.equal(ours, other)
    assert torch.equal(torch.random.get_rng_state(), before)
