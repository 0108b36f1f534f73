"""The agreement of two boards as tables, JSON and figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from scoring.agreement import Agreement, Agreements
from scoring.escaping import one_line
from scoring.kendall import Spread
from scoring.plain import to_plain as plain
from scoring.report.fitted import Column, FittedTable


def agreement_table(found: Agreements) -> FittedTable:
    """Tau of each order with its interval, floor and ceiling."""
    table = FittedTable(
        [
            Column("order"),
            Column("τ", right=True),
            Column("95% interval", right=True),
            Column("pairs alike", right=True, spare=2),
            Column("p", right=True, spare=3),
            Column("floor", right=True),
            Column("10..90%", right=True, spare=5),
            Column("ceiling", right=True),
            Column("10..90%", right=True, spare=4),
        ],
        title=f"agreement of {len(found.submissions)} submissions",
        caption=(
            "τ: Kendall's tau-b, with submissions and studies resampled; p: share of random orders "
            "that agree as well; floor: other workloads of the reference; ceiling: the reference's "
            "own studies, split"
        ),
    )
    for row in found.rows:
        table.add_row(
            label(row),
            _signed(row.tau),
            f"{_signed(row.low)} to {_signed(row.high)}",
            "–" if math.isnan(row.alike) else f"{100 * row.alike:.0f}%",
            "–" if math.isnan(row.p) else f"{row.p:.2g}",
            *_cells(row.floor),
            *_cells(row.ceiling),
        )
    return table


def noise_table(found: Agreements) -> FittedTable:
    """What separates submissions on each workload, and what separates studies."""
    table = FittedTable(
        [
            Column("workload"),
            Column("board"),
            Column("between submissions", right=True, spare=1),
            Column("between studies", right=True, spare=1),
            Column("signal / noise", right=True),
        ],
        title="signal and noise",
        caption=(
            "standard deviations of what a study contributes to the score, from 0 for a miss to 1; "
            "below 1, studies differ more than submissions do"
        ),
    )
    for noise in found.noise:
        if found.split and noise.board == "first":
            continue
        numbers = (noise.signal, noise.noise, noise.ratio)
        table.add_row(
            noise.workload, noise.board, *("–" if math.isnan(n) else f"{n:.2g}" for n in numbers)
        )
    return table


def label(row: Agreement) -> str:
    """The name of a row: "score", or the workload, with that of the reference if it differs."""
    return one_line(row.first if row.first == row.second else f"{row.first}, {row.second}")


def remark_lines(found: Agreements) -> list[str]:
    """A line for everything that a reader of the tables must know."""
    lines = [f"{name} is left out: {reason}" for name, reason in found.left_out.items()]
    if found.split:
        lines.append(
            "both boards are the same runs: τ is the mean over all splits of the studies into "
            "halves, one for each board"
        )
    if found.fraction < 1:
        lines.append(
            f"the first board is cut at {found.fraction:g} of its budget and ordered by the best "
            "metric so far"
        )
    if not math.isnan(found.halves.mean):
        lines.append(
            "half of the reference's workloads and the others: "
            f"τ {_signed(found.halves.mean)} ({_range(found.halves)})"
        )
    return lines + found.remarks


def to_plain(found: Agreements) -> dict[str, Any]:
    """All results as plain data."""
    rows = [plain(row) | {"pairs_alike": row.alike} for row in found.rows]
    noise = [plain(each) | {"ratio": each.ratio} for each in found.noise]
    data: dict[str, Any] = plain({**plain(found), "rows": rows, "noise": noise})
    return data


def save_figure(found: Agreements, path: Path) -> None:
    """Draws tau with its interval, floor and ceiling for each order; PNG, PDF or SVG by suffix."""
    from matplotlib.figure import Figure

    from scoring.report.styles import COLORS, MUTED, TEXT, tidy

    figure = Figure(figsize=(6.4, 1.5 + 0.34 * len(found.rows)), layout="constrained")
    ax = tidy(figure.add_subplot())
    for y, row in enumerate(found.rows):
        for spread, color, name in (
            (row.floor, MUTED, "floor"),
            (row.ceiling, COLORS[2], "ceiling"),
        ):
            ax.plot(
                [spread.low, spread.high], [y, y], color=color, linewidth=9, alpha=0.3,
                solid_capstyle="butt", label=f"{name}, 10..90%" if y == 0 else None,
            )  # fmt: skip
            ax.plot(spread.mean, y, "|", color=color, markersize=12, markeredgewidth=2)
        ax.plot([row.low, row.high], [y, y], color=COLORS[0], linewidth=1.6)
        ax.plot(row.tau, y, "o", color=COLORS[0], label="τ, 95% interval" if y == 0 else None)
    ax.axvline(0, color=TEXT, linewidth=0.8)
    ax.set_yticks(range(len(found.rows)), [label(row) for row in found.rows], parse_math=False)
    ax.set(xlim=(-1.02, 1.02), ylim=(len(found.rows) - 0.4, -0.6))
    ax.set_xlabel(  # longer than the axis, beside long names
        f"Kendall's τ with the reference, {len(found.submissions)} submissions", x=1, ha="right"
    )
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def _cells(spread: Spread) -> tuple[str, str]:
    return _signed(spread.mean), _range(spread)


def _range(spread: Spread) -> str:
    return "–" if math.isnan(spread.low) else f"{_signed(spread.low)} to {_signed(spread.high)}"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"
