"""How much equal runs differ by their seeds, and what follows for the probability of luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, ndtr, ndtri, stdtr, stdtrit

_LEAST = 1e-99  # smaller probabilities are not distinguished


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """How much equal runs differ by their seeds.

    Attributes:
        sigma: The standard deviation over seeds.
        df: The degrees of freedom that it was estimated with; None if it is known.
    """

    sigma: float
    df: int | None = None

    def p_value(self, z: float) -> float:
        """The probability of a statistic of at least `z` standard errors by luck (one-sided).

        By the normal distribution if sigma is known, else by Student's t.
        """
        return float(ndtr(-z) if self.df is None else stdtr(self.df, -z))

    def exceeds(self, sigma: float, p: float) -> bool:
        """Whether this estimate is larger than `sigma` by more than luck (a chi-squared test)."""
        return self.df is not None and bool(
            chdtrc(self.df, self.df * (self.sigma / sigma) ** 2) < p
        )

    def critical(self, p: float) -> float:
        """The number of standard errors that luck exceeds with probability `p`."""
        return float(-ndtri(p) if self.df is None else -stdtrit(self.df, p))


def pooled(groups: Sequence[Sequence[float]]) -> Noise | None:
    """Estimates sigma from groups of equal runs, whatever the means of the groups.

    Args:
        groups: The finite values of each group.

    Returns:
        The root of the pooled variance; None if no group has two runs, or no two runs differ.
    """
    df = sum(len(group) - 1 for group in groups if group)
    squares = math.fsum(
        float(((np.asarray(group) - np.mean(group)) ** 2).sum()) for group in groups if group
    )
    return Noise(sigma=math.sqrt(squares / df), df=df) if df and squares > 0 else None


def p_equals(p: float) -> str:
    """A probability as "p = 0.34" or "p < 1e-99"."""
    return f"p < {_LEAST:.0e}" if p < _LEAST else f"p = {p_in_words(p)}"


def p_in_words(p: float) -> str:
    """A probability as "0.34", "0.002", "3e-7" or "<1e-99"."""
    if p >= 0.995:
        return "1"
    if p >= 0.0995:
        return f"{p:.2f}"
    if p >= 0.00095:
        return f"{p:.1g}"
    if p < _LEAST:
        return f"<{_LEAST:.0e}"
    mantissa, exponent = f"{p:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
