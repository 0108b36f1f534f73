"""nanogpt_mini as experiments use it: evaluated on fewer windows, which takes less time."""

from __future__ import annotations

import numpy as np

from workloads.arrays import Columns, Splits
from workloads.nanogpt.workload import NanogptMini

WINDOWS = 128  # of the validation split; the test split has 8


class Language(NanogptMini):
    """nanogpt_mini with short evaluations."""

    num_eval_train_examples = 64

    def load(self) -> Splits:
        """All training windows, and the first ones of the other splits."""
        sizes = {"train": None, "validation": WINDOWS, "test": 8}
        return {s: _first(columns, sizes[s]) for s, columns in super().load().items()}


def _first(columns: Columns, count: int | None) -> Columns:
    return {name: np.asarray(array)[:count] for name, array in columns.items()}
