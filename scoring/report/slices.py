"""Draws slice plots: time to target, or the metric, over each hyperparameter of a workload."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scoring.escaping import one_line
from scoring.hyperparameters import Winners, as_number
from scoring.leaderboard import Leaderboard
from scoring.reading.results import Trial
from scoring.records import Status
from scoring.report.styles import MUTED, TEXT, group, line_styles, tidy

_COLUMNS = 3
_MOST = 12  # hyperparameters per figure, those of most trials first
_LOG_SPAN = 20  # ratio of the highest to the lowest value at which an axis becomes logarithmic


@dataclass(frozen=True, slots=True)
class _Point:
    """A trial in a slice plot."""

    trial: Trial
    hyperparameters: Mapping[str, Any]
    y: float  # infinite for a miss
    won: bool


def slices(board: Leaderboard, workload: str, won: Winners) -> Figure | None:
    """Draws a plot for each hyperparameter that took several values; None if there is none.

    Each dot is a trial; its height is the time to target, or the best value of the metric if no
    trial met it. Crosses at the top are misses, triangles were stopped early, and each submission's
    fastest trial has a ring.

    Args:
        board: The leaderboard.
        workload: The name of a workload on it.
        won: From `scoring.hyperparameters.winners`.
    """
    fastest = {id(winner.trial) for (_, name), winner in won.items() if name == workload}
    trials = [trial for trial in board.results.trials if trial.workload == workload]
    met = any(trial.within_budget for trial in trials)
    points = [
        _Point(trial, trial.hyperparameters, _height(trial, met), id(trial) in fastest)
        for trial in trials
    ]
    names = _varied([point.hyperparameters for point in points])[:_MOST]
    if not names:
        return None
    rows = math.ceil(len(names) / _COLUMNS)
    columns = min(len(names), _COLUMNS)
    figure = Figure(figsize=(2.9 * columns + 0.3, 2.3 * rows + 0.3), layout="constrained")
    goal = board.results.scope.workloads[workload].goal
    for place, name in enumerate(names, 1):
        ax = figure.add_subplot(rows, columns, place)
        _draw(board, ax, name, [point for point in points if name in point.hyperparameters])
        ax.set_xlabel(one_line(name), parse_math=False)
        if place % columns == 1 or columns == 1:
            label = "seconds to target" if met else f"best validation {goal.metric}"
            ax.set_ylabel(one_line(label), parse_math=False)
    return figure


def _height(trial: Trial, met: bool) -> float:
    """Seconds to target, or the best value if no trial met it; infinite for a miss."""
    if not met:
        values = [value for value in trial.read().values if math.isfinite(value)]
        best = min if trial.criteria.goal.direction == "min" else max
        return best(values, default=math.inf)
    if trial.hit is not None and trial.within_budget:
        return trial.hit.submission_seconds
    pruned = trial.status == Status.PRUNED and trial.submission_seconds > 0
    return trial.submission_seconds if pruned else math.inf


def _varied(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The hyperparameters with several values, those that most trials have first."""
    values: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for point in points:
        for name, value in point.items():
            values.setdefault(name, set()).add(repr(value))
            counts[name] = counts.get(name, 0) + 1
    return sorted((n for n in values if len(values[n]) > 1), key=lambda n: (-counts[n], n))


def _draw(board: Leaderboard, ax: Axes, name: str, points: Sequence[_Point]) -> None:
    """Draws the plot of one hyperparameter."""
    values = [point.hyperparameters[name] for point in points]
    numbers = [as_number(value) for value in values]
    if all(number is not None for number in numbers):
        x = [float(number) for number in numbers if number is not None]
        if min(x) > 0 and max(x) / min(x) >= _LOG_SPAN:
            ax.set_xscale("log")
    else:
        kinds = sorted({str(value) for value in values})
        x = [float(kinds.index(str(value))) for value in values]
        ax.set_xticks(range(len(kinds)), [*map(one_line, kinds)], parse_math=False)
    known = [point.y for point in points if math.isfinite(point.y)] or [1.0]
    top = max(known) + 0.12 * ((max(known) - min(known)) or 1.0)
    styles = line_styles(board.studies.submissions)
    for place, point in zip(x, points, strict=True):
        y = point.y if math.isfinite(point.y) else top
        pruned = point.trial.status == Status.PRUNED and math.isfinite(point.y)
        marker = "^" if pruned else "o" if math.isfinite(point.y) else "x"
        style = styles[point.trial.submission]
        lines = ax.plot(
            place, y, marker, color=style["color"], markersize=4, alpha=0.5 if pruned else 0.85
        )
        if point.won:
            lines += ax.plot(place, y, "o", mfc="none", mec=TEXT, markersize=9, markeredgewidth=1.2)
        for line in lines:
            line.set_gid(group(board, point.trial.submission))
    if any(not math.isfinite(point.y) for point in points):
        ax.annotate(
            "missed", (1, top), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            fontsize=7, color=MUTED,
        )  # fmt: skip
    tidy(ax)
