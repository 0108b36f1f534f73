"""Click logs that the project makes itself, from a latent-factor model.

Every category has a weight and a vector, drawn once; a line's log-odds are the weights, plus the
dot products of its vectors with each other, plus what its counts contribute. Within a column
categories follow Zipf's law, so that frequent ones are learned early and rare ones late.
"""

from __future__ import annotations

import numpy as np

from workloads.criteo1tb.data import COUNTS, hash_buckets

RECIPE = "criteo1tb_mini 1"  # the version of what `generate` makes
CATEGORIES = (2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800, 1200, 2000)  # of a column
BUCKETS = 2**14  # that each column is hashed into
ZIPF = 1.1
FACTORS = 4
MEAN_LOG_ODDS = -1.5
_WORLD, _LINES = 0, 1  # random streams


def generate(seed: int, lines: int) -> dict[str, np.ndarray]:
    """Arrays of so many lines, as `data.parse` gives them for a file."""
    import pyarrow as pa

    world = np.random.default_rng([_WORLD])
    rng = np.random.default_rng([_LINES, seed])
    log_odds = np.full(lines, MEAN_LOG_ODDS)
    vectors = np.zeros((lines, FACTORS))
    squares = np.zeros(lines)
    buckets = np.empty((lines, len(CATEGORIES)), np.int32)
    for column, count in enumerate(CATEGORIES):
        weights = world.normal(0, 0.25, count)
        factors = world.normal(0, 0.35, (count, FACTORS))
        hashed = hash_buckets(pa.array([f"{c:08x}" for c in range(count)]), column, BUCKETS)
        frequencies = 1 / np.arange(1, count + 1) ** ZIPF
        chosen = rng.choice(count, size=lines, p=frequencies / frequencies.sum())
        log_odds += weights[chosen]
        vectors += factors[chosen]
        squares += (factors[chosen] ** 2).sum(axis=1)
        buckets[:, column] = hashed[chosen]
    log_odds += ((vectors**2).sum(axis=1) - squares) / 2  # all dot products of two
    counts = np.expm1(rng.normal(1, 1, (lines, COUNTS))).astype(np.int32)
    log_odds += np.log1p(counts.clip(0)) @ world.normal(0, 0.15, COUNTS)
    return {
        "labels": (rng.random(lines) < 1 / (1 + np.exp(-log_odds))).astype(np.uint8),
        "counts": counts,
        "buckets": buckets,
    }
