"""Data parallelism: two gloo processes together compute what one computes alone."""

import subprocess
import sys

import pytest
import torch

import workloads
from tests.fixtures.mnist import write_mnist
from tests.workloads.one_or_two import DATA, can_be_shared, has_own_statistics
from tests.workloads.test_contract import SMALL


def is_additive(name):
    """Whether the gradient of a batch is the sum of its shares' gradients."""
    with torch.device("meta"):
        return not has_own_statistics(workloads.get(name).build_model())


SHARED = [name for name in SMALL if can_be_shared(workloads.get(name))]
ADDITIVE = [name for name in SHARED if is_additive(name)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    found = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp(f"processes_{processes}")
        write_mnist(folder / DATA)
        command = [sys.executable, "-m", "tests.workloads.one_or_two", str(folder), str(processes)]
        children = [subprocess.Popen([*command, str(rank), *SMALL]) for rank in range(processes)]
        assert [child.wait(timeout=300) for child in children] == [0] * processes
        found[processes] = {name: torch.load(folder / f"{name}.pt") for name in SMALL}
    return found


@pytest.mark.parametrize("name", ADDITIVE)
def test_loss_and_gradient_are_those_of_one_process(results, name):
    alone, together = results[1][name]["values"], results[2][name]["values"]
    for one, two in zip(alone, together, strict=True):
        scale = one.abs().max().item() or 1.0
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("name", SMALL)
def test_metrics_are_those_of_one_process(results, name):
    alone, together = results[1][name]["metrics"], results[2][name]["metrics"]
    for split, metrics in alone.items():
        assert together[split] == pytest.approx(metrics, rel=1e-5, abs=1e-7)
