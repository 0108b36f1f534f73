"""The style of figures: a colour and dashes per submission, the same in a board's figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from scoring.leaderboard import Leaderboard

# Found by search: under simulated deuteranopia any two differ by a CIEDE2000 of at least 12, each
# has a contrast of 3:1 against white, and they are as close to those of Okabe and Ito as possible
COLORS = ["#4174a2", "#e55900", "#00805c", "#b1588e", "#926400", "#4e3ba4", "#575c62"]
DARK_COLORS = [
    "#58aff0", "#e98b59", "#3ac79c", "#e899c5", "#fbc94d", "#d3c4ff", "#878f93",
]  # fmt: skip
TEXT, MUTED, GRID = "#1b1f24", "#555555", "#dddddd"
DASHES: list[tuple[float, ...]] = [(), (5, 1.5), (1.5, 1.2), (6, 1.5, 1.5, 1.5)]  # in line widths


def line_styles(submissions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour and dash pattern for each submission, the same in every figure of a board.

    Both change from one submission to the next, so that no two of 28 look the same.
    """
    styles = {}
    for number, name in enumerate(sorted(submissions)):
        dashes = DASHES[number % len(DASHES)]
        styles[name] = {
            "color": COLORS[number % len(COLORS)],
            "linestyle": (0, dashes) if dashes else "solid",
        }
    return styles


def group(board: Leaderboard, submission: str) -> str:
    """The name of a submission's elements in the SVG of a figure."""
    return f"submission-{sorted(board.studies.submissions).index(submission)}"


def tidy(ax: Axes) -> Axes:
    """Adds a light grid and removes the box."""
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
