"""Writes a workload to start from: `chronograd new --workload`."""

from __future__ import annotations

from pathlib import Path

import workloads
from scoring.records import UserError
from scoring.writing import write_text

_WORKLOAD = '''"""{name}: describe the task, the model, and where the data is from."""

import numpy as np
from torch import nn

from harness.spec import LossType
from workloads.arrays import ArrayWorkload


class {kind}(ArrayWorkload):
    """A submission trains the model until an evaluation meets the target."""

    name = "{name}"
    summary = "two spirals, small MLP"  # one line for `chronograd workloads`

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "accuracy"  # one of those of per_example_metrics: accuracy, loss
    target_direction = "max"
    validation_target_value = 0.97  # `chronograd calibrate ./{name}` measures targets
    test_target_value = 0.97

    budget_steps = 2_000  # in steps of the baseline; or max_allowed_runtime_sec, in seconds
    eval_period_steps = 50  # or eval_period_time_sec
    step_hint = 2_000  # the length of schedules

    num_train_examples = 1_000
    num_eval_train_examples = 250
    num_validation_examples = 250
    num_test_examples = 250
    train_batch_size = 32
    eval_batch_size = 250

    def build_model(self):
        """The network, initialised from torch's default generator, which is seeded."""
        return nn.Sequential(
            nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
        )

    def load(self):
        """The examples of each split; files would be read from self.data_dir."""
        random = np.random.default_rng(0)
        labels = random.integers(0, 2, 1_500)  # [N]
        angle = random.uniform(1, 3 * np.pi, 1_500)
        turned = angle + np.pi * labels
        points = angle[:, None] * np.stack([np.cos(turned), np.sin(turned)], axis=1) / 5  # [N, 2]
        points += random.normal(0, 0.03, points.shape)
        splits, begin = {{}}, 0
        for split, size in (("train", 1_000), ("validation", 250), ("test", 250)):
            part = slice(begin, begin + size)
            splits[split] = {{"inputs": points[part].astype(np.float32), "targets": labels[part]}}
            begin += size
        return splits
'''


def write_workload(place: Path) -> Path:
    """Writes a workload that passes `chronograd check`; returns its folder.

    Args:
        place: The folder, which must not exist yet; its name is that of the workload.

    Raises:
        UserError: `place` exists, or its name cannot be that of a workload.
    """
    name = place.resolve().name
    if place.exists():
        raise UserError(f"{place}: already exists; choose another name")
    in_library = name in workloads.names()
    if in_library or not name.isidentifier():
        why = "is a workload of the library" if in_library else "is not an identifier"
        raise UserError(f"{name}: {why}; choose another name, of letters, digits and _")
    kind = "".join(word.capitalize() for word in name.split("_")) or "Own"
    write_text(place / workloads.FILE, _WORKLOAD.format(name=name, kind=kind))
    return place
