"""Draws the figures of a leaderboard, without pyplot or global matplotlib state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scoring.cells import Cell
from scoring.escaping import one_line
from scoring.leaderboard import Leaderboard
from scoring.profiles import profile
from scoring.report.curves import learning_curves as learning_curves
from scoring.report.styles import COLORS as COLORS
from scoring.report.styles import TEXT, group, tidy
from scoring.report.styles import line_styles as line_styles

_INCHES = (5.0, 3.4)  # small, so that labels are readable on a phone


def performance_profiles(board: Leaderboard, ax: Axes) -> Axes:
    """Draws each submission's profile: the share of workloads it solves within tau of the fastest.

    Lines get thinner from the best to the worst, so that overlapping ones remain visible. Each has
    its name at its end.
    """
    scope = board.results.scope
    styles = line_styles(board.studies.submissions)
    widths = np.linspace(3.2, 1.4, len(board.standings))
    ends = {}
    for width, standing in zip(widths, board.standings, strict=True):
        ratios_b = np.array([standing.cells[name].ratio for name in scope.scored])
        tau, rho = profile(ratios_b, scope.ruleset.r_max)
        name = standing.name
        (line,) = ax.step(tau, rho, where="post", linewidth=width, **styles[name])
        line.set_gid(group(board, name))
        ends[name] = float(rho[-1])
    for name, height in _apart(ends).items():
        label = ax.text(
            1.015, height, one_line(name), transform=ax.get_yaxis_transform(), va="center",
            fontsize=7, color=styles[name]["color"], parse_math=False,
        )  # fmt: skip
        label.set_gid(group(board, name))
    ax.set(xlim=(1, scope.ruleset.r_max), ylim=(-0.02, 1.04))
    ax.set(xlabel="τ: time over that of the fastest submission")
    ax.set(ylabel="share of workloads solved within τ")
    return tidy(ax)


def _apart(
    heights: Mapping[str, float], lowest: float = 0.0, highest: float = 1.02
) -> dict[str, float]:
    """Moves labels apart so that none covers another, in the order of their heights.

    Equal heights keep their order; labels stay close to where they belong.
    """
    order = sorted(heights, key=lambda name: -heights[name])
    gap = min(0.062, (highest - lowest) / max(1, len(order) - 1))
    placed: list[float] = []
    for name in order:
        placed.append(min(heights[name], placed[-1] - gap if placed else highest))
    low = lowest
    for place in reversed(range(len(placed))):  # move up again if the lowest is below the frame
        placed[place] = max(placed[place], low)
        low = placed[place] + gap
    return dict(zip(order, placed, strict=True))


def score_intervals(board: Leaderboard, ax: Axes) -> Axes:
    """Draws each score, the best on top, with its 95% interval if studies were repeated."""
    styles = line_styles(board.studies.submissions)
    for row, standing in enumerate(board.standings):
        color = styles[standing.name]["color"]
        ax.plot([standing.low, standing.high], [row, row], color=color, linewidth=2.0)
        ax.plot(standing.score, row, "o", color=color)
    _name_rows(ax, [standing.name for standing in board.standings])
    ax.set(xlim=(0, 1), xlabel="score and 95% interval" if board.repeated else "score")
    return tidy(ax)


def hours(board: Leaderboard, ax: Axes) -> Axes:
    """Draws the hours on the submission clock of each submission's trials."""
    styles = line_styles(board.studies.submissions)
    for row, standing in enumerate(board.standings):
        ax.barh(row, standing.hours, color=styles[standing.name]["color"])
    _name_rows(ax, [standing.name for standing in board.standings])
    ax.set(xlabel="hours on the submission clock")
    return tidy(ax)


def time_to_target(board: Leaderboard, ax: Axes) -> Axes:
    """Draws the ratio to the fastest as a heat map with times in it; grey cells do not count."""
    scope = board.results.scope
    names = [standing.name for standing in board.standings]
    rows = [[standing.cells[w] for w in scope.scored] for standing in board.standings]
    texts = [[_in_cell(cell) for cell in row] for row in rows]
    _heat(ax, [[cell.ratio for cell in row] for row in rows], texts, 1, scope.ruleset.r_max)
    _name_rows(ax, names)
    _name_columns(ax, scope.scored)
    ax.set_title(
        f"{scope.by} to target; darker is closer to the fastest; † does not count; > stopped",
        fontsize=9,
    )
    return ax


def rank_probabilities(board: Leaderboard, ax: Axes) -> Axes:
    """Draws the probability of every rank as a heat map, in percent."""
    names = [standing.name for standing in board.standings]
    shares = [standing.ranks for standing in board.standings]
    texts = [[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares]
    _heat(ax, [[1 - share if share else math.inf for share in row] for row in shares], texts, 0, 1)
    _name_rows(ax, names)
    _name_columns(ax, [str(rank) for rank in range(1, len(names) + 1)])
    ax.set_title("probability of each rank (%)", fontsize=9)
    return ax


def _in_cell(cell: Cell) -> str:
    seconds = cell.at_least if cell.pruned else cell.seconds
    if not math.isfinite(seconds):
        return "∞"
    number = f"{seconds:,.4g}" if seconds < 1000 else f"{seconds:,.0f}"
    return f">{number}" if cell.pruned else number + "†" * bool(cell.reason)


def _heat(
    ax: Axes, rows: list[list[float]], texts: list[list[str]], low: float, high: float
) -> None:
    """Draws a heat map, darkest at `low`; infinite values are grey."""
    values = np.where(np.isfinite(rows), rows, np.nan)
    shades = colormaps["Blues_r"].with_extremes(bad="#eeeeee")
    ax.imshow(values, cmap=shades, vmin=low - 0.3 * (high - low), vmax=high, aspect="auto")
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            dark = values[row, column] < low + 0.4 * (high - low)
            color = "white" if dark else TEXT
            ax.text(column, row, text, ha="center", va="center", fontsize=7, color=color)


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), [*map(one_line, names)], parse_math=False)
    ax.set_ylim(len(names) - 0.5, -0.5)


def _name_columns(ax: Axes, names: Sequence[str]) -> None:
    ax.set_xticks(range(len(names)), [*map(one_line, names)], parse_math=False)
    if max(map(len, names)) > 3:
        ax.tick_params("x", rotation=35)
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def figure(rows: int = 0, columns: int = 0) -> Figure:
    """An empty figure, large enough for this many rows and columns of names and numbers."""
    width = max(_INCHES[0], 1.8 + 0.62 * columns)
    height = max(_INCHES[1] if not rows else 0, 1.2 + 0.3 * rows)
    return Figure(figsize=(width, height), layout="constrained")


def with_legend(drawn: Figure, board: Leaderboard) -> Figure:
    """Adds a legend below the figure, with names shown literally."""
    styles = line_styles([standing.name for standing in board.standings])
    names = [standing.name for standing in board.standings]
    columns = 3 if max(map(len, names)) < 12 else 2
    width, height = drawn.get_size_inches()
    drawn.set_size_inches(width, height + 0.2 * math.ceil(len(names) / columns))
    lines = [Line2D([], [], linewidth=2.0, **styles[name]) for name in names]
    legend = drawn.legend(
        lines,
        [*map(one_line, names)],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=3,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return drawn


def save_plots(board: Leaderboard, folder: Path) -> list[Path]:
    """Writes every figure as PNG and PDF into `folder` and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    count, workloads = len(board.standings), board.results.scope.workloads
    figures: dict[str, Figure] = {}
    figures["performance_profiles"] = drawn = figure()
    performance_profiles(board, drawn.add_subplot())
    with_legend(drawn, board)
    figures["scores"] = drawn = figure(count)
    score_intervals(board, drawn.add_subplot())
    figures["time_to_target"] = drawn = figure(count, len(board.results.scope.scored))
    time_to_target(board, drawn.add_subplot())
    if board.repeated:
        figures["rank_probabilities"] = drawn = figure(count, count)
        rank_probabilities(board, drawn.add_subplot())
    figures["hours"] = drawn = figure(count)
    hours(board, drawn.add_subplot())
    for workload in workloads:
        figures[f"learning_curves_{workload}"] = drawn = figure()
        learning_curves(board, workload, drawn.add_subplot())
        with_legend(drawn, board)
    paths = [folder / f"{name}{kind}" for name in figures for kind in (".png", ".pdf")]
    for path in paths:
        figures[path.stem].savefig(path, dpi=160, metadata=WITHOUT_DATE[path.suffix])
    return paths


WITHOUT_DATE: dict[
    str, dict[str, Any]
] = {  # without a date, so that equal figures give equal files
    ".png": {},
    ".pdf": {"CreationDate": None},
}
