"""Data parallelism: two gloo processes together compute what one computes alone."""

import subprocess
import sys

import pytest
import torch

import workloads
from tests.fixtures.mnist import write_mnist
from tests.workloads.one_or_two import DATA
from tests.workloads.test_contract import SMALL


def has_batch_norm(name):
    with torch.device("meta"):
        modules = workloads.get(name).build_model().modules()
    return any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in modules)


# the statistics of batch norm are those of a process's own share
NAMES = [name for name in SMALL if not has_batch_norm(name)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    found = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp(f"processes_{processes}")
        write_mnist(folder / DATA)
        command = [sys.executable, "-m", "tests.workloads.one_or_two", str(folder), str(processes)]
        children = [subprocess.Popen([*command, str(rank), *NAMES]) for rank in range(processes)]
        assert [child.wait(timeout=300) for child in children] == [0] * processes
        found[processes] = {name: torch.load(folder / f"{name}.pt") for name in NAMES}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_are_those_of_one_process(results, name):
    alone, together = results[1][name]["values"], results[2][name]["values"]
    for one, two in zip(alone, together, strict=True):
        scale = one.abs().max().item() or 1.0
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_those_of_one_process(results, name):
    alone, together = results[1][name]["metrics"], results[2][name]["metrics"]
    for split, metrics in alone.items():
        assert together[split] == pytest.approx(metrics, rel=1e-5, abs=1e-7)
