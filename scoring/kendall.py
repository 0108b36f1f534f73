"""Kendall's tau of many orders at once, and the spread of several values of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean of several values of tau, and the range of the middle 80% of them.

    Attributes:
        mean: NaN if there are none.
        low: The 10% quantile.
        high: The 90% quantile.
    """

    mean: float
    low: float
    high: float


NONE = Spread(math.nan, math.nan, math.nan)


def tau(first: Floats, second: Floats) -> Floats:
    """Kendall's tau-b (Kendall 1945) of orders along the last axis; NaN where one has no order.

    Infinite values tie with each other.

    Args:
        first: Values (..., N).
        second: Values of the same shape, or one that broadcasts to it.
    """
    i, j = np.triu_indices(first.shape[-1], k=1)

    def signs(values: Floats) -> npt.NDArray[np.float64]:
        left, right = values[..., i], values[..., j]
        return (left > right).astype(np.float64) - (left < right)

    one, other = signs(first), signs(second)
    size = np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((one * other).sum(axis=-1) / size)


def spread(values: Floats) -> Spread:
    """The mean and the middle 80% of the values that are defined."""
    values = values[~np.isnan(values)]
    if not len(values):
        return NONE
    return Spread(float(values.mean()), *np.quantile(values, [0.1, 0.9]).tolist())
