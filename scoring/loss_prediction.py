"""What mid-run losses predict on a board at a fixed step: the order of entries, and early stops.

Shapes: S entries, one workload, K runs, one trial, F steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scoring.calibration import Board, Calibration, leaving_out_submissions
from scoring.fixed_step import FixedStepBoard
from scoring.kendall import tau
from scoring.loss_tests import Result
from scoring.prediction import FRACTIONS, MOVED, Curves
from scoring.profiles import Floats
from scoring.replay import RISKS

_SHOWN = 8  # steps, besides the first
_FEWEST = 3  # entries
_ENOUGH = 0.9  # the share of entries that a step needs
_RANKS = 0.5  # a smaller tau does not rank: fewer than three of four pairs are ordered alike


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """How well the losses at one step rank entries by the steps that they finally needed.

    Attributes:
        step: The step.
        tau: Kendall's tau-b between the mean loss at the step and the stopping step.
        entries: The number of entries.
        by_luck: The standard deviation of tau if the losses said nothing.
        alike: The share of pairs of entries that the losses order as they end.
    """

    step: int
    tau: float
    entries: int
    by_luck: float
    alike: float


def rankings(board: FixedStepBoard) -> list[Ranking]:
    """How well losses rank entries, at the first step and at round steps after it."""
    stops = {result.name: _end(result) for result in board.results}
    seen = {result.name: _means(result) for result in board.results}
    known = [
        step
        for step in sorted({step for means in seen.values() for step in means if step > 0})
        if sum(step in means for means in seen.values()) >= _ENOUGH * len(seen)
    ]
    if len(known) > _SHOWN:
        unit = next(unit for unit in _units() if known[-1] < unit * (_SHOWN + 1))
        known = [step for step in known if step == known[0] or step % unit == 0]
    found = []
    for step in known:
        names = [name for name, means in seen.items() if step in means]
        n = len(names)
        if n < _FEWEST:
            continue
        losses, ends = [seen[name][step] for name in names], [stops[name] for name in names]
        value = float(tau(np.array(losses), np.array(ends, float)))
        if not math.isnan(value):
            by_luck = math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
            alike = (value + 1) / 2
            found.append(Ranking(step=step, tau=value, entries=n, by_luck=by_luck, alike=alike))
    return found


def in_words(found: list[Ranking]) -> str:
    """Whether mid-run losses rank entries; "" if there is nothing to say."""
    poor = [ranking for ranking in found if ranking.tau < _RANKS]
    if not found or not poor:
        return ""
    worst, last = min(poor, key=lambda r: (r.tau, r.step)), max(poor, key=lambda r: r.step)
    return (
        f"mid-run losses rank these entries badly: at step {last.step:,} tau is {last.tau:+.2f} "
        f"({last.alike:.0%} of pairs are ordered as they end), at its lowest {worst.tau:+.2f} at "
        f"step {worst.step:,}; do not choose between similar optimizers by runs cut short there"
    )


def _units() -> list[int]:
    return [digit * 10**power for power in range(8) for digit in (1, 2, 5)]


def _end(result: Result) -> int:
    """The stopping step of an entry; the last of its runs if these differ."""
    return result.steps or max(run.last for run in result.entry.runs)


def _means(result: Result) -> dict[int, float]:
    """The mean loss over the runs that have an evaluation at a step, where all are finite."""
    by_step: dict[int, list[float]] = {}
    for run in result.entry.runs:
        for step, loss in zip(run.steps, run.losses, strict=True):
            by_step.setdefault(step, []).append(loss)
    means = {step: math.fsum(losses) / len(losses) for step, losses in by_step.items()}
    return {step: mean for step, mean in means.items() if math.isfinite(mean)}


def calibrations(board: FixedStepBoard, max_change: float = MOVED) -> list[Calibration]:
    """How often and how far stopping runs on a prediction moves the board.

    A run's time is the step at which its loss first meets the target, an entry's the median over
    its runs, and its score the fewest steps of any entry over its own. Each entry is judged by
    limits that come from the others.
    """
    found = _board(board)
    return [leaving_out_submissions(found, risk, max_change) for risk in RISKS]


def _board(board: FixedStepBoard) -> Board:
    """The runs as curves over steps."""
    entries = [result.entry for result in board.results]
    shape = (len(entries), 1, max(len(entry.runs) for entry in entries), 1)
    longest = max(run.last for entry in entries for run in entry.runs)
    at = np.array([FRACTIONS * longest])
    logged, met = np.zeros(shape), np.full(shape, np.inf)
    gaps = np.full((*shape, len(FRACTIONS)), np.nan)
    for s, entry in enumerate(entries):
        for k, run in enumerate(entry.runs):
            goal = board.runs.goal
            hits = (n for n, loss in zip(run.steps, run.losses, strict=True) if goal.met_by(loss))
            logged[s, 0, k, 0], met[s, 0, k, 0] = run.last, next(hits, math.inf)
            best = np.fmin.accumulate([goal.distance(loss) for loss in run.losses])
            last = np.searchsorted(run.steps, at[0], side="right") - 1
            seen = (last >= 0) & (at[0] <= run.last)
            gaps[s, 0, k, 0] = np.where(seen, best[np.maximum(last, 0)], np.nan)
    names = [entry.name for entry in entries]
    scores = _Scores([len(entry.runs) for entry in entries])
    return Board(names, [board.runs.workload], logged, Curves(at, gaps, met), scores)


class _Scores:
    """The fewest steps of any entry over each one's median; 0 for an entry that misses.

    Args:
        runs: The number of runs of each entry.
    """

    def __init__(self, runs: list[int]) -> None:
        runs_s = np.array(runs)
        self._middle = (
            (np.arange(len(runs)), (runs_s - 1) // 2),
            (np.arange(len(runs)), runs_s // 2),
        )

    def __call__(self, times: Floats) -> Floats:
        """The scores (S,) that times to target (S, 1, K, 1) give."""
        ordered_sk = np.sort(times[:, 0, :, 0], axis=1)  # runs that do not exist are infinite
        low, high = self._middle
        median_s = (ordered_sk[low] + ordered_sk[high]) / 2
        fewest = median_s.min()
        return np.zeros(len(median_s)) if math.isinf(fewest) else np.asarray(fewest / median_s)
