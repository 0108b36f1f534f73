r"""Performance profiles (Dolan and More 2002) and the score that AlgoPerf computes from them.

Shapes: S submissions, W workloads (those scored, then held-out variants), B workloads that are
scored; `...` is any number of resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.grid import held_out_columns
from scoring.reading.results import Scope

Floats = npt.NDArray[np.float64]
GRID = 100  # points of the official integral


@dataclass(frozen=True, slots=True)
class Stages:
    """Times in seconds after each rule, in the order in which the rules apply.

    Attributes:
        median: Median over studies, infinite for a miss: (..., S, W).
        entered: As `median`, but a variant is infinite where its workload is.
        capped: As `entered`, but infinite if over r_max times the fastest of `entered`.
        counted: The times of the scored workloads, infinite where their variant is: (..., S, B).
        best: The fastest of `entered`, which the cap is relative to: (..., W).
        fastest: The fastest of `counted`, which the ratios are relative to: (..., B).
    """

    median: Floats
    entered: Floats
    capped: Floats
    counted: Floats
    best: Floats
    fastest: Floats

    @property
    def ratios(self) -> Floats:
        r"""Time over the fastest time: (..., S, B), infinite where the time does not count.

        \( r_{sw} = t_{sw} / \min_{s'} t_{s'w} \); also 1 if a frozen reference is slower.
        """
        fastest = self.fastest[..., None, :]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = np.where(self.counted <= fastest, 1.0, self.counted / fastest)
        return np.where(np.isfinite(self.counted), ratios, np.inf)


def apply_rules(
    times: Floats, scope: Scope, best: Floats | None = None, fastest: Floats | None = None
) -> Stages:
    """Applies the rules for held-out variants and slow times, in AlgoPerf's order.

    1. A variant does not count if its workload was missed.
    2. A time over r_max times the fastest does not count, on workloads and on variants.
    3. A workload does not count if its variant does not.

    Args:
        times: Median seconds (..., S, W); infinite or NaN for a miss.
        scope: The workload of each variant, and r_max.
        best: The best times of a frozen reference, in place of the fastest here: (..., W).
        fastest: The reference's fastest times that count, in place of those here: (..., B).
    """
    held_out = held_out_columns(scope.workloads, scope.held_out)
    median = np.where(np.isnan(times), np.inf, times)
    entered = median.copy()
    for variant, workload in held_out.items():
        entered[..., variant][np.isinf(median[..., workload])] = np.inf
    if best is None:
        best = entered.min(axis=-2)
    capped = np.where(entered > scope.ruleset.r_max * best[..., None, :], np.inf, entered)
    counted = capped[..., : len(scope.scored)].copy()
    for variant, workload in held_out.items():
        counted[..., workload][np.isinf(capped[..., variant])] = np.inf
    if fastest is None:
        fastest = counted.min(axis=-2)
    return Stages(median, entered, capped, counted, best, fastest)


def credit(ratios: Floats, r_max: float, exact: bool) -> Floats:
    r"""The contribution of each workload to a score, times the number of workloads: 1 at ratio 1.

    The exact value is the area under one workload's step,
    \( \max(0, (r_{max} - r)/(r_{max} - 1)) \). The official script instead sums trapezoids over 100
    points, which gives up to half a trapezoid more or less.

    Args:
        ratios: Ratios in any shape, infinite for a miss.
        r_max: The end of the profile.
        exact: Whether to compute the area exactly.
    """
    if exact:
        return np.maximum(0.0, (r_max - ratios) / (r_max - 1))
    first = np.searchsorted(np.linspace(1, r_max, GRID), ratios)  # the first point tau >= ratio
    steps = GRID - 1 - first + 0.5 * (first > 0)
    return np.where(first < GRID, steps / (GRID - 1), 0.0)


def scores(stages: Stages, r_max: float, exact: bool) -> Floats:
    """The area under each profile over the largest possible one: (..., S), from 0 to 1."""
    area: Floats = credit(stages.ratios, r_max, exact).mean(axis=-1)
    return area


def profile(ratios_b: Floats, r_max: float) -> tuple[Floats, Floats]:
    r"""The share of workloads solved within a factor, \( \rho(\tau) = |\{w: r_w \le \tau\}| / B \).

    Args:
        ratios_b: One submission's ratios, infinite for a miss.
        r_max: The end of the profile.

    Returns:
        The corners of the step function from tau = 1 to `r_max`; rho is constant up to the next.
    """
    tau = np.unique(np.concatenate([[1.0], ratios_b[ratios_b <= r_max], [r_max]]))
    rho = (ratios_b[None, :] <= tau[:, None]).mean(axis=1)
    return tau, rho
