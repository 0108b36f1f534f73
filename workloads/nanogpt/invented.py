"""The data of the minis: an invented language, see `workloads.language`."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads import language
from workloads.arrays import Columns, Splits
from workloads.parts import Part
from workloads.prepared import PreparedWorkload


class InventedLanguage(PreparedWorkload):
    """A workload on windows of a text in the invented language, written at first use."""

    dataset = "nanogpt_mini"
    config: Any

    def load(self) -> Splits:
        """Windows [N, context] of every split."""
        return {split: self._windows(split) for split in self.splits}

    def parts(self) -> list[Part]:
        """The text of each split, written in seconds."""
        context = self.config.context
        return language.parts({s: count * context + 1 for s, count in self.sizes.items()})

    def training_tokens(self) -> np.ndarray:
        """The complete training text."""
        return self.read("train")["tokens"]

    def _windows(self, split: str) -> Columns:
        tokens = self.read(split)["tokens"].astype(np.int64)
        shape = (-1, self.config.context)
        return {"inputs": tokens[:-1].reshape(shape), "targets": tokens[1:].reshape(shape)}
