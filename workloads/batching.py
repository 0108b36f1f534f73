"""Which examples a training batch has: its epoch, its place there, and the seed of the order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.spec import DataError


def epochs(count: int, size: int, start: int) -> Iterator[tuple[int, range]]:
    """Endlessly the number of an epoch and where its batches begin, its incomplete one dropped.

    Args:
        count: The number of examples.
        size: The size of a batch.
        start: The number of the first batch, over all epochs.

    Raises:
        DataError: There are fewer examples than a batch has.
    """
    per_epoch = count // size
    if not per_epoch:
        raise DataError(f"a batch is {size:,} examples, and there are {count:,}; use a smaller one")
    first = start % per_epoch
    for epoch in itertools.count(start // per_epoch):
        yield epoch, range(first * size, per_epoch * size, size)
        first = 0


def seed_of(rng: Any) -> int:
    """One integer from a random state: an integer or a sequence of them."""
    words = [int(word) & 0xFFFFFFFF for word in np.ravel(rng)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
