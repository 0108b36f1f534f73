"""The random streams of a trial, all from one seed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import numpy as np
import torch

from scoring.records import TrialSpec


@dataclass(frozen=True, slots=True)
class Streams:
    """The random streams of a trial: from (seed, workload, study, trial), not the submission.

    Trials of different submissions are thus paired: same initialisation, same batches. Each is a
    pair of integers, AlgoPerf's shape of a random state.
    """

    model: np.ndarray
    data: np.ndarray
    optimizer: np.ndarray
    loop: np.ndarray

    @classmethod
    def of(cls, spec: TrialSpec) -> Streams:
        """Derives the streams; names enter as SHA-256 integers."""
        name = int.from_bytes(hashlib.sha256(spec.workload.encode()).digest())
        root = np.random.SeedSequence([spec.seed, name, spec.study, spec.trial])
        return cls(*(child.generate_state(2).astype(np.int32) for child in root.spawn(4)))

    def seed_generators(self) -> None:
        """Seeds Python's, numpy's and torch's generators, which submissions may draw from."""
        words = [int(word) & 0xFFFFFFFF for word in self.loop]
        random.seed(words[0])
        np.random.seed(words)  # noqa: NPY002 - for submissions that use the legacy generator
        torch.manual_seed(words[0] << 32 | words[1])
