"""Figures: performance profiles and learning curves. No pyplot, no global matplotlib state."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scoring.leaderboard import Leaderboard
from scoring.profiles import profile
from scoring.read import Results
from scoring.records import Goal
from scoring.times import STUDY, study_times

# Okabe and Ito (2008), told apart with any colour vision; without yellow, too faint on white
_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_DASHES = ["solid", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5))]
_CLOCKS = {"wall": "submission time (s)", "steps": "time on the step clock (s)"}
_AXES_INCHES = (5.0, 3.4)  # so small that labels stay readable on a phone
_TARGET: dict[str, Any] = {"color": "#555555", "linestyle": "dotted"}
_COUNTS: dict[str, Any] = {"linewidth": 2.0, "zorder": 3}
_OTHERS: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.45}
_DECADES = 1.5  # a loss that spans more of them is drawn on a log scale
_MAY_LEAVE = 0.2  # the part of all values that may lie outside the frame


def line_styles(submissions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A colour and dash pattern for each submission, the same in every figure of a board."""
    return {
        name: {
            "color": _COLORS[number % len(_COLORS)],
            "linestyle": _DASHES[number % len(_DASHES)],
        }
        for number, name in enumerate(sorted(submissions))
    }


def performance_profiles(board: Leaderboard, ax: Axes) -> Axes:
    """Draws each submission's profile: the share of workloads it solves within tau of the fastest.

    Lines get thinner from the best to the worst, so that one under another still shows.
    """
    r_max = board.experiment.ruleset.r_max
    styles = line_styles(board.ratios.index)
    widths = np.linspace(3.6, 1.6, len(board.ratios))
    for width, name in zip(widths, board.ratios.index, strict=True):
        tau, rho = profile(board.ratios.loc[name].to_numpy(), r_max)
        ax.step(tau, rho, where="post", linewidth=width, label=name, **styles[name])
    ax.set(xlim=(1, r_max), ylim=(-0.02, 1.04))
    ax.set(xlabel="τ: time over that of the fastest submission")
    ax.set(ylabel="share of workloads solved within τ")
    return _tidy(ax)


def learning_curves(results: Results, workload: str, ax: Axes) -> Axes:
    """Draws the goal's metric on validation data over the submission clock, a line a trial.

    Trials that count (the fastest of a study that reached the target) are bold and end in a dot at
    their first hit; the grey line is the target.
    """
    experiment = results.experiment
    goal = experiment.workloads[workload].goal
    counting = study_times(results.trials, experiment.plan).add_prefix("counting_")
    styles = line_styles(experiment.submissions)
    rows = results.evaluations[results.evaluations["workload"] == workload]
    for _, curve in rows.join(counting, on=STUDY).groupby(["submission", "study", "trial"]):
        first = curve.iloc[0]
        counts = first["trial"] == first["counting_trial"]
        x, y = curve["submission_seconds"], curve["value"]
        line = ax.plot(x, y, **styles[first["submission"]])[0]
        line.set(**_COUNTS if counts else _OTHERS)
        if counts:
            hit = x == first["counting_seconds"]
            ax.plot(x[hit].iloc[0], y[hit].iloc[0], "o", ms=5, color=line.get_color(), zorder=4)
    ax.axhline(goal.target, linewidth=1.2, zorder=2, **_TARGET)
    _scale_values(ax, rows, goal)
    ax.set_title(workload, parse_math=False)
    ax.set(xlabel=_CLOCKS[experiment.clock], xlim=(0, None))
    ax.set_ylabel(f"validation {goal.metric}", parse_math=False)
    return _tidy(ax)


def _scale_values(ax: Axes, rows: pd.DataFrame, goal: Goal) -> None:
    """Limits that show what happens near the target; a log scale where a loss spans decades.

    The worst fifth of all values, such as the first fall of every curve, may leave the frame, and
    so does a loss that rises far above its start.
    """
    finite = rows[np.isfinite(rows["value"])]
    if finite.empty:
        return
    values = finite["value"]
    start = finite.groupby(["submission", "study", "trial"])["value"].first().max()
    better, worse = values.min(), min(values.quantile(1 - _MAY_LEAVE), 1.5 * abs(start))
    if goal.direction == "max":
        better, worse = values.max(), values.quantile(_MAY_LEAVE)
    ends = sorted((better, worse, goal.target))
    low, high = ends[0], ends[-1]
    if goal.direction == "min" and low > 0 and math.log10(high / low) > _DECADES:
        ax.set_yscale("log")
        margin = (high / low) ** 0.05
        ax.set_ylim(low / margin, high * margin)
    elif low < high:
        margin = 0.05 * (high - low)
        ax.set_ylim(low - margin, high + margin)


def _tidy(ax: Axes) -> Axes:
    """A light grid and no box."""
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def profiles_figure(board: Leaderboard) -> Figure:
    """The performance profiles with their legend, best first."""
    figure = _figure(line_styles(board.ratios.index), list(board.ratios.index))
    performance_profiles(board, figure.add_subplot())
    return figure


def curves_figure(results: Results, workload: str) -> Figure:
    """The learning curves of one workload with their legend."""
    styles = line_styles(results.experiment.submissions)
    figure = _figure({**styles, "target": _TARGET}, [*styles, "target"])
    learning_curves(results, workload, figure.add_subplot())
    return figure


def _figure(styles: dict[str, dict[str, Any]], names: list[str]) -> Figure:
    """A figure with a legend below, where it covers nothing; names are shown as they are."""
    columns = 3 if max(map(len, names)) < 12 else 2
    height = _AXES_INCHES[1] + 0.2 * math.ceil(len(names) / columns)
    figure = Figure(figsize=(_AXES_INCHES[0], height), layout="constrained")
    lines = [Line2D([], [], linewidth=2.0, **styles[name]) for name in names]
    legend = figure.legend(
        lines, names, loc="outside lower center", ncols=columns, frameon=False, handlelength=3
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def save_plots(results: Results, board: Leaderboard, folder: Path) -> list[Path]:
    """Writes every figure as a PNG into `folder` and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"performance_profiles": profiles_figure(board)}
    for workload in results.experiment.workloads:
        figures[f"learning_curves_{workload}"] = curves_figure(results, workload)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=160, bbox_inches="tight")
    return paths
