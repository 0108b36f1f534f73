"""Limits for `--pruning predict`, computed from earlier results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.records import UserError

if TYPE_CHECKING:
    from harness.sweep.limits import Limits
    from scoring.experiment import Experiment


def limits_from(
    history: Sequence[Path], experiment: Experiment, risk: float, max_change: float
) -> Limits:
    """Returns the limits of a sweep's trials, for each submission from the others in `history`.

    Args:
        history: Results trees or official logs of earlier submissions.
        experiment: The plan of the sweep.
        risk: Maximum probability that pruning a submission changes a score by more than
            `max_change`.
        max_change: The change of a score that counts.

    Raises:
        UserError: The results in `history` do not allow predictions at this risk, or the ruleset
            compares losses at a fixed step.
    """
    import numpy as np

    from harness.sweep.limits import Limits
    from scoring.calibration import Board, leaving_out_submissions
    from scoring.prediction import FRACTIONS, limits
    from scoring.reading.read import read

    if experiment.ruleset.fixed_step is not None:
        raise UserError(
            f"ruleset {experiment.ruleset.name}: all runs of a submission stop at the same step: "
            "leave out --pruning predict, which would stop some of them earlier (chronograd replay "
            "shows what mid-run losses predict)"
        )
    results = read(history, experiment.ruleset, experiment.tuning)
    earlier, columns = list(results.submissions), list(results.scope.workloads)
    board = Board.of(results)
    gaps = {}
    for name in experiment.submissions:
        number = earlier.index(name) if name in earlier else None
        limit_wf = limits(board.curves, risk, board.scores, number, max_change)
        for workload in experiment.workloads:
            if workload in columns:
                gaps[name, workload] = limit_wf[columns.index(workload)].tolist()
    if not np.isfinite([limit for limits_f in gaps.values() for limit in limits_f]).any():
        least = 1 / (1 + min(len({*earlier} - {name}) for name in experiment.submissions))
        reason = (
            f"{len(earlier)} submissions are too few for predictions at a risk below {least:.2g}"
            if risk < least
            else f"no limits keep the risk of changing a score by more than {max_change:g} at "
            f"{risk:g} for its {len(earlier)} submissions"
        )
        raise UserError(
            f"--history {' '.join(map(str, history))}: {reason}; add more results, or pass "
            f"a greater {'--risk or --max-change' if risk < 1 else '--max-change'}"
        )
    found = leaving_out_submissions(board, risk, max_change)
    calibration = (
        f"of {found.submissions} earlier submissions, each judged by the others, it moved a score "
        f"by more than {max_change:g} for {100 * found.moved:.0f}%, by "
        f"{found.expected_change:.4f} on average and {found.worst_change:.4f} at worst"
    )
    return Limits(risk, FRACTIONS.tolist(), gaps, calibration)
