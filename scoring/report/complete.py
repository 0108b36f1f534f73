"""All results of a leaderboard as plain data, for JSON files, the page and Python."""

from __future__ import annotations

from typing import Any

from scoring.continuous import Continuous
from scoring.continuous import continuous as whole_curves
from scoring.efficiency import efficiency as spending
from scoring.leaderboard import Leaderboard
from scoring.report import continuous, efficiency
from scoring.report.tables import to_json
from scoring.speedup import Speedup
from scoring.views import RelaxationSweep


def to_complete_json(
    board: Leaderboard,
    speedups: dict[str, Speedup] | None = None,
    sweep: RelaxationSweep | None = None,
    beside: Continuous | None = None,
) -> dict[str, Any]:
    """`to_json` with step times, ranks over relaxed targets and the scores beside the target.

    Args:
        board: The leaderboard.
        speedups: Time ratios to a submission, if requested.
        sweep: Ranks over relaxed targets, if requested.
        beside: Scores beside the target; None to compute them over the ruleset's baseline.
    """
    spent = efficiency.to_plain(spending(board.results), sweep)
    rest = continuous.to_plain(beside or whole_curves(board.results))
    return to_json(board, speedups) | spent | rest
