"""The random streams of a trial, all derived from one seed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scoring.records import TrialSpec


@dataclass(frozen=True, slots=True)
class Streams:
    """The random streams of a trial, derived from (seed, workload, study, trial).

    They do not depend on the submission, so trials of different submissions are paired: they have
    the same initialisation and the same batches. Each is a pair of integers, as in AlgoPerf.
    """

    model: np.ndarray
    data: np.ndarray
    optimizer: np.ndarray
    loop: np.ndarray

    @classmethod
    def of(cls, spec: TrialSpec) -> Streams:
        """Derives the streams; the workload's name enters as the integer of its SHA-256."""
        name = int.from_bytes(hashlib.sha256(spec.workload.encode()).digest())
        root = np.random.SeedSequence([spec.seed, name, spec.study, spec.trial])
        return cls(*(child.generate_state(2).astype(np.int32) for child in root.spawn(4)))

    def seed_generators(self, rank: int = 0) -> None:
        """Seeds Python's, numpy's and torch's generators, which submissions may draw from.

        The seed depends on the rank, so that the processes of a trial drop out different units.
        """
        words = [int(word) & 0xFFFFFFFF for word in self.loop]
        if rank:
            words = np.random.SeedSequence([*words, rank]).generate_state(2).tolist()
        random.seed(words[0])
        np.random.seed(words)  # noqa: NPY002 - for submissions that use the legacy generator
        torch.manual_seed(words[0] << 32 | words[1])


def generator_states() -> dict[str, Any]:
    """Returns the states of these generators, as plain data."""
    version, words, gauss = random.getstate()
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002
    state = legacy["state"]
    return {
        "python": [version, list(words), gauss],
        "numpy": [state["key"].tolist(), state["pos"], legacy["has_gauss"], legacy["gauss"]],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Restores the states that `generator_states` returned."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    key, position, has_gauss, gauss = states["numpy"]
    np.random.set_state(  # noqa: NPY002
        ("MT19937", np.array(key, np.uint32), position, has_gauss, gauss)
    )
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
