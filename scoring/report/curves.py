"""Plots the learning curves of a workload: the validation metric over the submission clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scoring.escaping import one_line
from scoring.leaderboard import Leaderboard
from scoring.profiles import Floats
from scoring.reading.evaluations import STEP
from scoring.reading.results import Trial
from scoring.records import Goal
from scoring.report.styles import MUTED, group, line_styles, tidy

OTHERS = "-others"  # suffix of the group of trials that are hidden at first
_CLOCKS = {"wall": "submission time (s)", "steps": "time on the step clock (s)"}
_TARGET: dict[str, Any] = {"color": MUTED, "linestyle": "dotted"}
_DECADES = 1.5  # a loss that spans more decades is drawn on a log scale
_MAY_LEAVE = 0.2  # the share of all values that may be outside the frame


@dataclass(frozen=True, slots=True)
class _Curve:
    """A trial's metric on validation data over the submission clock."""

    trial: Trial
    seconds: Floats
    values: Floats


def learning_curves(board: Leaderboard, workload: str, ax: Axes) -> Axes:
    """Draws the goal's metric on validation data over the submission clock, a line per trial.

    Trials that count (those that determine a study's time) are bold, with a dot at their first
    hit; the dotted line is the target. In the SVG, trials that neither count nor are the closest of
    a study that missed form a separate group, which the page hides at first.
    """
    scope = board.results.scope
    goal = scope.workloads[workload].goal
    curves = _curves(board, workload)
    counted = {id(t) for s in board.standings for t in s.cells[workload].counted if t is not None}
    for name, style in line_styles(board.studies.submissions).items():
        mine = [curve for curve in curves if curve.trial.submission == name]
        bold = [curve for curve in mine if id(curve.trial) in counted]
        best = _closest(mine, {curve.trial.study for curve in bold}, goal)
        thin = [curve for curve in mine if id(curve.trial) not in counted | best]
        near = [curve for curve in mine if id(curve.trial) in best]
        for line in _draw(ax, thin, linewidth=0.7, alpha=0.4, **style):
            line.set_gid(group(board, name) + OTHERS)
        drawn = _draw(ax, near, linewidth=0.7, alpha=0.4, **style)
        drawn += _draw(ax, bold, linewidth=1.8, zorder=3, **style)
        hits = [curve.trial.hit for curve in bold if curve.trial.hit is not None]
        x, y = [hit.submission_seconds for hit in hits], [hit.value for hit in hits]
        drawn += ax.plot(x, y, "o", markersize=4.5, color=style["color"], zorder=4)
        for line in drawn:
            line.set_gid(group(board, name))
    ax.axhline(goal.target, linewidth=1.2, zorder=2, **_TARGET)
    _scale_values(ax, curves, goal.direction, goal.target)
    ax.set_title(one_line(workload), parse_math=False)
    ax.set(xlabel="steps" if scope.by == "steps" else _CLOCKS[scope.clock], xlim=(0, None))
    ax.set_ylabel(one_line(f"validation {goal.metric}"), parse_math=False)
    return tidy(ax)


def _curves(board: Leaderboard, workload: str) -> list[_Curve]:
    """The learning curves of one workload, without missing values."""
    curves = []
    for trial in board.results.trials:
        if trial.workload == workload:
            read = trial.read()
            along = read.column(STEP) if board.results.scope.by == "steps" else read.seconds
            seconds, values = np.array(along), np.array(read.values)
            finite = np.isfinite(values)
            curves.append(_Curve(trial, seconds[finite], values[finite]))
    return curves


def _closest(curves: Sequence[_Curve], met: set[int], goal: Goal) -> set[int]:
    """The ids of the trials that came closest to the target in studies where none counts."""
    best: dict[int, tuple[float, int]] = {}
    for curve in curves:
        study = curve.trial.study
        if study in met or not curve.values.size:
            continue
        value = float(curve.values.min() if goal.direction == "min" else curve.values.max())
        if study not in best or goal.better(value, best[study][0]):
            best[study] = value, id(curve.trial)
    return {trial for _, trial in best.values()}


def _draw(ax: Axes, curves: Sequence[_Curve], **style: Any) -> list[Line2D]:
    """Draws several curves as one line with gaps."""
    if not curves:
        return []
    gap = [np.nan]
    x = np.concatenate([part for curve in curves for part in (curve.seconds, gap)])
    y = np.concatenate([part for curve in curves for part in (curve.values, gap)])
    return ax.plot(x, y, **style)


def _scale_values(ax: Axes, curves: Sequence[_Curve], direction: str, target: float) -> None:
    """Sets limits that show the region near the target, and a log scale if a loss spans decades.

    The worst fifth of all values, such as the initial drop of every curve, may be outside the
    frame, and so is a loss that rises far above its start.
    """
    curves = [curve for curve in curves if curve.values.size]
    if not curves:
        return
    values = np.concatenate([curve.values for curve in curves])
    start = max(abs(curve.values[0]) for curve in curves)
    better, worse = values.min(), min(np.quantile(values, 1 - _MAY_LEAVE), 1.5 * start)
    if direction == "max":
        better, worse = values.max(), np.quantile(values, _MAY_LEAVE)
    low, _, high = sorted((float(better), float(worse), target))
    if direction == "min" and low > 0 and math.log10(high / low) > _DECADES:
        ax.set_yscale("log")
        margin = (high / low) ** 0.05
        ax.set_ylim(low / margin, high * margin)
    elif low < high:
        margin = 0.05 * (high - low)
        ax.set_ylim(low - margin, high + margin)
