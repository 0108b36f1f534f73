"""Checks on a GPU, for `make gpu` and never for CI; `make gpu DEVICE=cpu` tries their code."""

import os
from pathlib import Path

import pytest
import torch

from tests.fixtures.mnist import write_mnist

DEVICE = os.environ.get("CHRONOGRAD_TEST_DEVICE", "cuda")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True, scope="session")
def device():
    """The device; set up here, before a trial on the CPU hides the GPUs from this process."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    torch.zeros(1, device=DEVICE)
    return DEVICE


@pytest.fixture(scope="session")
def mnist(device, tmp_path_factory):
    return str(write_mnist(tmp_path_factory.mktemp("mnist")))
