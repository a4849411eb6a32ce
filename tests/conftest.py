"""Every test on one thread, with its own random numbers."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("laws", deadline=None, derandomize=True, database=None)
settings.load_profile("laws")


@pytest.fixture(autouse=True)
def own_random_numbers():
    """A test's ambient draws start at seed 0, whatever ran before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def float64():
    """Tensors made without a dtype are float64: for laws that float32 hides in rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
