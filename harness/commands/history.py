"""What earlier results say of the trials of a sweep: where to give them up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.records import UserError

if TYPE_CHECKING:
    from harness.sweep.limits import Limits
    from scoring.experiment import Experiment


def limits_from(history: Sequence[Path], experiment: Experiment, risk: float) -> Limits:
    """The limits of a sweep's trials, each submission judged by the others in `history` alone.

    Raises:
        UserError: So few submissions allow of no prediction at this risk.
    """
    import numpy as np

    from harness.sweep.limits import Limits
    from scoring.prediction import FRACTIONS, curves, limits
    from scoring.reading.read import read
    from scoring.replay import logs

    results = read(history, experiment.ruleset, experiment.tuning)
    earlier, columns = list(results.submissions), list(results.scope.workloads)
    found = logs(results)
    known = curves(results, found.met)
    gaps = {}
    for name in experiment.submissions:
        number = earlier.index(name) if name in earlier else None
        limit_wf = limits(known, risk, found.scores, number)
        for workload in experiment.workloads:
            if workload in columns:
                gaps[name, workload] = limit_wf[columns.index(workload)].tolist()
    if not np.isfinite([limit for limits_f in gaps.values() for limit in limits_f]).any():
        raise UserError(
            f"--history {' '.join(map(str, history))}: {len(earlier)} submissions allow of no "
            f"prediction at a risk of {risk:g}; give more of them, or a greater --risk"
        )
    return Limits(risk, FRACTIONS.tolist(), gaps)
