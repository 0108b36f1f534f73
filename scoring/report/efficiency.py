"""Step times, shares of evaluation and ranks over relaxed targets: tables, JSON and figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoring.efficiency import Efficiency
from scoring.leaderboard import Leaderboard
from scoring.report.fitted import Column, FittedTable
from scoring.report.terminal import format_number
from scoring.views import RelaxationSweep

if TYPE_CHECKING:  # tables need no matplotlib
    from matplotlib.axes import Axes


def step_times_table(board: Leaderboard, spent: Efficiency) -> FittedTable:
    """Seconds per step and their ratio to the framework's median, one column per workload."""
    workloads = board.results.scope.scored
    frameworks = {found.framework for found in spent.step_times.values()}
    table = FittedTable(
        [Column("submission"), *(Column(name, right=True) for name in workloads)],
        title="seconds per step",
        turnable=True,
        caption=(
            "submission clock per call of update_params, median over trials, and its ratio to the "
            "median submission" + (" of the same framework" if len(frameworks) > 1 else "")
        ),
    )
    for standing in board.standings:
        found = [spent.step_times.get((standing.name, name)) for name in workloads]
        cells = [
            "–" if f is None else f"{format_number(f.seconds)} ({f.relative:.2f}×)" for f in found
        ]
        table.add_row(standing.name, *cells)
    if spent.evaluation_share:
        shares = [spent.evaluation_share.get(name, math.nan) for name in workloads]
        cells = ["–" if math.isnan(share) else f"{100 * share:.0f}%" for share in shares]
        table.add_row("evaluation's share of wall-clock time", *cells)
    return table


def relaxation_table(board: Leaderboard, sweep: RelaxationSweep) -> FittedTable:
    """Ranks at a few fractions, one row per submission in the order of the board."""
    shown = sorted({round(n * (len(sweep.amounts) - 1) / 5) for n in range(6)})
    table = FittedTable(
        [
            Column("submission"),
            *(Column(f"{100 * sweep.amounts[n]:g}%", right=True) for n in shown),
        ],
        title="rank, with all targets relaxed by a fraction",
        caption="? a pruned trial could matter there" if sweep.refused else "",
    )
    for standing in board.standings:
        s = sweep.submissions.index(standing.name)
        ranks = [sweep.rank_as[n, s] for n in shown]
        table.add_row(standing.name, *("?" if math.isnan(r) else f"{r:.0f}" for r in ranks))
    return table


def to_plain(spent: Efficiency, sweep: RelaxationSweep | None) -> dict[str, Any]:
    """Both as plain data for the board's JSON; null if there is none."""
    times: dict[str, dict[str, Any]] = {}
    for (name, workload), found in sorted(spent.step_times.items()):
        times.setdefault(name, {})[workload] = {
            "framework": found.framework,
            "seconds": found.seconds,
            "relative": found.relative,
        }
    plain: dict[str, Any] = {
        "step_times": times,
        "evaluation_share": spent.evaluation_share,
        "relaxation": None,
    }
    if sweep is not None:
        plain["relaxation"] = {
            "amounts": sweep.amounts,
            "scores": _by_name(sweep, sweep.score_as),
            "ranks": _by_name(sweep, sweep.rank_as),
            "refused": {
                f"{sweep.amounts[number]:g}": reason for number, reason in sweep.refused.items()
            },
        }
    return plain


def _by_name(sweep: RelaxationSweep, values_as: Any) -> dict[str, list[float | None]]:
    return {
        name: [None if math.isnan(value) else value for value in values_as[:, s].tolist()]
        for s, name in enumerate(sweep.submissions)
    }


def ranks_over_relaxation(board: Leaderboard, sweep: RelaxationSweep, ax: Axes) -> Axes:
    """Draws each submission's rank over the fraction that all targets are relaxed by."""
    from scoring.report.styles import group, line_styles, tidy

    percent = 100 * np.array(sweep.amounts)
    for name, style in line_styles(board.studies.submissions).items():
        s = sweep.submissions.index(name)
        (line,) = ax.step(percent, sweep.rank_as[:, s], where="mid", linewidth=1.8, **style)
        line.set_gid(group(board, name))
    count = len(sweep.submissions)
    ax.set(xlabel="targets relaxed by (%)", ylabel="rank", ylim=(count + 0.5, 0.5))
    ax.set_yticks(range(1, count + 1))
    return tidy(ax)


def relaxation_svg(board: Leaderboard, sweep: RelaxationSweep) -> str:
    """The figure of ranks over relaxed targets, as SVG for the page."""
    from scoring.report.plots import figure
    from scoring.report.svg import svg

    drawn = figure(rows=len(sweep.submissions))
    ranks_over_relaxation(board, sweep, drawn.add_subplot())
    return svg(drawn, "relaxation")


def save_relaxation(board: Leaderboard, sweep: RelaxationSweep, folder: Path) -> None:
    """Writes the figure of ranks as PNG and PDF."""
    from scoring.report.plots import figure, with_legend

    folder.mkdir(parents=True, exist_ok=True)
    drawn = figure(rows=len(sweep.submissions))
    ranks_over_relaxation(board, sweep, drawn.add_subplot())
    with_legend(drawn, board)
    drawn.savefig(folder / "rank_over_relaxation.png", dpi=160)
    drawn.savefig(folder / "rank_over_relaxation.pdf", metadata={"CreationDate": None})
