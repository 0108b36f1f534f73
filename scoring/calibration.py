"""Measures how often and how far prediction moves scores, on results it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scoring.prediction import MOVED, Curves, change, curves, limits, stops_of
from scoring.pruning import Floats
from scoring.reading.results import Results
from scoring.replay import logs


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The effect of prediction on scores when it prunes one submission at a time.

    Attributes:
        judged_by: The source of the limits, in words.
        risk: The requested risk.
        max_change: The change of a score that counts.
        submissions: Number of submissions judged.
        moved: The share of submissions whose pruning moved a score by more than `max_change`.
        expected_change: The mean over submissions of the largest change of any score.
        worst_change: The maximum over submissions.
        saved_percent: Saved hours in percent of the hours of all trials, without exact pruning.
    """

    judged_by: str
    risk: float
    max_change: float
    submissions: int
    moved: float
    expected_change: float
    worst_change: float
    saved_percent: float


@dataclass(frozen=True, slots=True)
class Board:
    """Finished results and their curves.

    Attributes:
        submissions: The names of the submissions.
        workloads: The names of the workloads.
        logged: How long each trial ran: (S, W, K, T), in the unit of the curves.
        curves: The learning curves.
        scores: The scores (S,) that times to target (S, W, K, T) give.
    """

    submissions: Sequence[str]
    workloads: Sequence[str]
    logged: Floats
    curves: Curves
    scores: Callable[[Floats], Floats]

    @classmethod
    def of(cls, results: Results) -> Board:
        """Reads the curves of results."""
        found = logs(results)
        return cls(
            list(results.submissions),
            list(results.scope.workloads),
            found.logged,
            curves(results, found.met),
            found.scores,
        )


def leaving_out_submissions(board: Board, risk: float, max_change: float = MOVED) -> Calibration:
    """Judges each submission by limits from the others on its board."""
    return _calibration(board, board, "the others on the board", risk, max_change)


def leaving_out_boards(
    board: Board, other: Board, name: str, risk: float, max_change: float = MOVED
) -> Calibration:
    """Judges each submission by limits from another board, on which it is left out.

    Args:
        board: The board whose submissions are judged.
        other: The source of the limits; workloads that it lacks are not pruned.
        name: The name of the other board.
        risk: As in `scoring.prediction.stops`.
        max_change: As in `scoring.prediction.stops`.
    """
    return _calibration(board, other, name, risk, max_change)


def _calibration(
    board: Board, other: Board, name: str, risk: float, max_change: float
) -> Calibration:
    changes, length = [], np.minimum(board.logged, board.curves.met)
    kept = 0.0
    for number, submission in enumerate(board.submissions):
        limit = _limits_for(board, other, submission, risk, max_change)
        stopped = stops_of(board.curves, number, limit)
        changes.append(change(board.curves, number, stopped, board.scores))
        kept += float(np.minimum(length[number], stopped).sum())
    total = float(length.sum())
    return Calibration(
        judged_by=name,
        risk=risk,
        max_change=max_change,
        submissions=len(changes),
        moved=float(np.mean(np.array(changes) > max_change)) if changes else 0.0,
        expected_change=float(np.mean(changes)) if changes else 0.0,
        worst_change=max(changes, default=0.0),
        saved_percent=100 * (1 - kept / total) if total else 0.0,
    )


def _limits_for(
    board: Board, other: Board, submission: str, risk: float, max_change: float
) -> Floats:
    """The limits of a submission on the board's workloads: (W, F)."""
    names, columns = list(other.submissions), list(other.workloads)
    number = names.index(submission) if submission in names else None
    found = limits(other.curves, risk, other.scores, number, max_change)
    without = np.full(found.shape[1], np.inf)
    return np.array(
        [
            found[columns.index(workload)] if workload in columns else without
            for workload in board.workloads
        ]
    )
