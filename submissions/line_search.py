"""Line searches along a descent direction: Armijo's backtracking, and the strong Wolfe conditions.

Below, phi(t) is the loss at x + t d, and phi'(t) its slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Loss = Callable[[float], float]
LossAndSlope = Callable[[float], tuple[float, float]]
Point = tuple[float, float, float]  # t, phi(t), phi'(t)

ARMIJO, WOLFE = 1e-4, 0.9  # c1 and c2 (Nocedal and Wright 2006, section 3.1)
MOST_TRIALS = 60


def armijo(
    loss: Loss, start: float, slope: float, first: float, c1: float = ARMIJO, shrink: float = 0.5
) -> float:
    """The first t of first, shrink first, ... with phi(t) <= phi(0) + c1 t phi'(0).

    Args:
        loss: phi.
        start: phi(0).
        slope: phi'(0), negative.
        first: The first t.
        c1: In (0, 1).
        shrink: In (0, 1).

    Returns:
        t; 0 if none was found, as where rounding hides the decrease.
    """
    t = first
    for _ in range(MOST_TRIALS):
        if loss(t) <= start + c1 * t * slope:
            return t
        t *= shrink
    return 0.0


def strong_wolfe(
    loss: LossAndSlope,
    start: float,
    slope: float,
    first: float,
    c1: float = ARMIJO,
    c2: float = WOLFE,
) -> float:
    """A t with phi(t) <= phi(0) + c1 t phi'(0) and |phi'(t)| <= c2 |phi'(0)|.

    The bracketing phase and the zoom of Nocedal and Wright 2006, algorithms 3.5 and 3.6.

    Args:
        loss: phi and phi'.
        start: phi(0).
        slope: phi'(0), negative.
        first: The first t.
        c1: In (0, 1).
        c2: In (c1, 1).

    Returns:
        t; 0 if none was found, as where rounding hides the decrease.
    """
    before: Point = (0.0, start, slope)
    t = first
    for trial in range(MOST_TRIALS):
        value, steepness = loss(t)
        here: Point = (t, value, steepness)
        too_high = value > start + c1 * t * slope or (trial > 0 and value >= before[1])
        if too_high or not math.isfinite(value):
            return _zoom(loss, start, slope, before, here, c1, c2)
        if abs(steepness) <= -c2 * slope:
            return t
        if steepness >= 0:
            return _zoom(loss, start, slope, here, before, c1, c2)
        before, t = here, _extended(before, here)
    return 0.0


def _zoom(
    loss: LossAndSlope, start: float, slope: float, low: Point, high: Point, c1: float, c2: float
) -> float:
    """A t between two points of which `low` has the lower loss, by interpolation."""
    for _ in range(MOST_TRIALS):
        t = _between(low, high)
        value, steepness = loss(t)
        too_high = value > start + c1 * t * slope or value >= low[1]
        if too_high or not math.isfinite(value):
            high = (t, value, steepness)
            continue
        if abs(steepness) <= -c2 * slope:
            return t
        if steepness * (high[0] - low[0]) >= 0:
            high = low
        low = (t, value, steepness)
        if abs(high[0] - low[0]) <= 1e-14 * max(abs(high[0]), 1e-300):
            break
    return low[0]


def _between(low: Point, high: Point) -> float:
    """Where the line through both slopes is zero; the middle where that is no better."""
    (a, _, slope), (b, value, steepness) = low, high
    t = a - slope * (b - a) / (steepness - slope) if steepness != slope else math.nan
    left, right = sorted((a, b))
    margin = 0.01 * (right - left)
    inside = math.isfinite(value) and left + margin <= t <= right - margin
    return t if inside else (a + b) / 2


def _extended(before: Point, here: Point) -> float:
    """Where the line through both slopes is zero, within 1.1 to 10 times the present t."""
    (a, _, slope), (b, _, steepness) = before, here
    t = b - steepness * (b - a) / (steepness - slope) if steepness > slope else math.inf
    return min(max(t, 1.1 * b), 10 * b)
