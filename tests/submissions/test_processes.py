"""Submissions under data parallelism: two gloo processes train the weights that one trains."""

import subprocess
import sys

import pytest
import torch

EXACT = [
    "shampoo", "caspr", "kron", "sam", "lawa_queue", "lawa_ema", "nag_gs", "amos",
    "self_tuning/armijo_sgd", "self_tuning/adamg", "muon_sharded",
]  # fmt: skip
NAMES = [*EXACT, "soap"]  # a moment of low rank has no one eigenbasis


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    found = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp(f"processes_{processes}")
        module = "tests.submissions.one_or_two"
        command = [sys.executable, "-m", module, str(folder), str(processes)]
        children = [subprocess.Popen([*command, str(rank), *NAMES]) for rank in range(processes)]
        assert [child.wait(timeout=600) for child in children] == [0] * processes
        for rank in range(processes):
            found[processes, rank] = {
                name: torch.load(folder / f"{number}.{rank}.pt")
                for number, name in enumerate(NAMES)
            }
    return found


@pytest.mark.parametrize("name", NAMES)
def test_processes_keep_the_same_weights(results, name):
    one, other = results[2, 0][name], results[2, 1][name]
    assert one["learning_rate"] == other["learning_rate"]
    for a, b in zip(one["parameters"], other["parameters"], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", EXACT)
def test_two_processes_train_what_one_does(results, name):
    alone, together = results[1, 0][name], results[2, 0][name]
    assert together["learning_rate"] == pytest.approx(alone["learning_rate"], rel=1e-6)
    for one, two in zip(alone["parameters"], together["parameters"], strict=True):
        torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9)
