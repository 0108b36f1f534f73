"""The state that submissions keep: the figures in submission_info.json are measured ones."""

import json

import pytest
import torch

from benchmarks import optimizers
from harness.submission import loading


@pytest.mark.parametrize("name", optimizers.everywhere())
def test_a_submissions_state_is_as_its_info_says(name):
    info = json.loads((loading.library() / name / "submission_info.json").read_text())
    # python -m benchmarks.optimizers --write-memory writes it
    assert info[optimizers.MEMORY] == optimizers.measured_memory(name)


def test_state_is_counted_once_and_the_model_is_not_of_it():
    model = torch.nn.Linear(10, 10)
    model(torch.ones(10)).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.step()
    kept = torch.zeros(7)
    state = {
        "optimizer": optimizer, "weights": [p.detach() for p in model.parameters()],
        "kept": (kept, kept[:3], {"again": kept}), "number": 3,
    }  # fmt: skip
    assert optimizers.state_bytes(state, model, None) == 4 * (110 + 7)
