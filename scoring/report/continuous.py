"""The scores beside the target as tables and JSON."""

from __future__ import annotations

import math
from typing import Any

from scoring.continuous import Continuous
from scoring.leaderboard import Leaderboard
from scoring.report.fitted import Column, FittedTable


def curve_speedups_table(board: Leaderboard, beside: Continuous) -> FittedTable:
    """The speed-up of each submission over the baseline's curves, one column per workload."""
    workloads = board.results.scope.scored
    table = FittedTable(
        [Column("submission"), *(Column(name, right=True) for name in workloads)],
        title=f"speed-up over the curves of {beside.baseline}",
        turnable=True,
        caption=(
            f"{beside.baseline}'s time to the same metric over the submission's, mean over all "
            "evaluations; in brackets the share of the baseline's curve that it passes"
        ),
    )
    for standing in board.standings:
        found = [beside.speedups.get((standing.name, name)) for name in workloads]
        cells = [
            "–" if f is None else f"{factor_text(f.factor)} ({100 * f.passed:.0f}%)" for f in found
        ]
        table.add_row(standing.name, *cells)
    return table


def factor_text(factor: float) -> str:
    """A speed-up; "–" if there is none."""
    return "–" if math.isnan(factor) else f"{factor:.2f}×"


def to_plain(beside: Continuous) -> dict[str, Any]:
    """The scores beside the target as plain data for the board's JSON, by submission."""
    speedups: dict[str, dict[str, Any]] = {}
    for (name, workload), found in sorted(beside.speedups.items()):
        speedups.setdefault(name, {})[workload] = {
            "factor": None if math.isnan(found.factor) else found.factor,
            "passed": found.passed,
            "studies": found.studies,
        }
    sensitivities: dict[str, dict[str, float]] = {}
    for (name, workload), value in sorted(beside.sensitivities.items()):
        sensitivities.setdefault(name, {})[workload] = value
    return {
        "curve_speedup": {"baseline": beside.baseline or None, "submissions": speedups},
        "learning_rate_sensitivity": sensitivities,
    }
