"""The order in which studies run, chosen so that exact pruning saves the most."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from scoring.pruning import Bounds


def likely_winners_first(
    bounds: Bounds, held_out: Mapping[int, int], worth: npt.ArrayLike
) -> npt.NDArray[np.intp]:
    """Ranks studies so that deadlines become early soon: from 0, (S, W, K).

    Studies run workload by workload, each together with its held-out variant. First comes one study
    of every submission; then the other studies, starting with the submissions that were fastest in
    the first, so that the fastest time is known before the slow ones run. If the fastest so far is
    so fast that r_max times its time is below a budget, its other studies come immediately: slow
    submissions then stop early in their first study too. Between a workload and its variant, the
    one missed in its first study comes first, since once it is certainly missed the other does not
    matter.

    Args:
        bounds: What is known of the trials; the order changes as more becomes known.
        held_out: As in `deadlines`.
        worth: The budget over r_max: (W,). A fastest time below it stops others early.
    """
    submission, workload, study = np.indices(bounds.low.shape[:3])
    base = np.array([held_out.get(w, w) for w in range(bounds.low.shape[1])])
    variant = workload != base[workload]
    first = bounds.high[:, :, 0].min(-1)  # the time of the first study: (S, W)
    missed = np.isinf(first) & (bounds.low[:, :, 0].min(-1) > 0)  # so far
    opening = ~variant & (study == 0)
    fastest = first.min(0)
    leads = (first == fastest) & (fastest < worth)
    at_once = ~variant & leads[submission, workload]
    probe = variant & (study == 0) & np.isfinite(first[submission, base[workload]])
    later = variant
    for column, owner in held_out.items():
        later[:, column] &= ~missed[:, column, None]
        later[:, owner] |= missed[:, column, None] & ~opening[:, owner]
    turn = np.where(opening, 1, np.where(at_once, 0, 2))
    keys = (study, later, ~probe, submission, first[submission, base[workload]], turn)
    ranks = np.empty(study.size, np.intp)
    ranks[np.lexsort([key.ravel() for key in (*keys, base[workload])])] = np.arange(study.size)
    return ranks.reshape(study.shape)
