r"""Performance profiles (Dolan and More 2002) and the score that AlgoPerf makes of them.

Shapes: S submissions, W workloads.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]


def performance_ratios(times_sw: pd.DataFrame, r_max: float) -> pd.DataFrame:
    r"""How many times slower than the fastest: \( r_{sw} = t_{sw} / \min_{s'} t_{s'w} \).

    Args:
        times_sw: Time to target in seconds, submissions x workloads, infinite for a miss.
        r_max: A time over `r_max` times the fastest counts as a miss.

    Returns:
        The ratios, at least 1; infinite for a miss. Where nobody reached the target all are.
    """
    best_w = times_sw.min()
    ratios_sw = (times_sw / best_w).mask(times_sw == best_w, 1.0)  # 0 / 0 is a tie too
    return ratios_sw.where(np.isfinite(times_sw) & (times_sw <= r_max * best_w), math.inf)


def profile(ratios_w: Floats, r_max: float) -> tuple[Floats, Floats]:
    r"""The share of workloads solved within a factor, \( \rho(\tau) = |\{w: r_w \le \tau\}| / W \).

    Args:
        ratios_w: One submission's ratios, infinite for a miss.
        r_max: Where the profile ends.

    Returns:
        The step function's corners from tau = 1 to `r_max`; each rho holds from its tau on.
    """
    tau = np.unique(np.concatenate([[1.0], ratios_w[ratios_w <= r_max], [r_max]]))
    rho = (ratios_w[None, :] <= tau[:, None]).mean(axis=1)
    return tau, rho


def area_scores(ratios_sw: pd.DataFrame, r_max: float) -> pd.Series[float]:
    r"""The exact area under each profile, over its greatest value.

    \( \frac{1}{r_{max} - 1} \int_1^{r_{max}} \rho(\tau) d\tau
       = \frac{1}{W} \sum_w \max(0, \frac{r_{max} - r_w}{r_{max} - 1}) \)

    Args:
        ratios_sw: Of all planned workloads, infinite for a miss.
        r_max: Where the profiles end.

    Returns:
        A score per submission: 1 for the fastest everywhere, 0 for one that solves nothing. The sum
        is rounded once, so that neither order nor names of the workloads can move it.
    """
    credit_sw = ((r_max - ratios_sw) / (r_max - 1)).clip(lower=0)
    return credit_sw.apply(lambda credit_w: math.fsum(credit_w) / len(credit_w), axis=1)
