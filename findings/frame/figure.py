"""The look of a finding's figure: axes in a row, the claim as a line of text above them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scoring.report.styles import COLORS, DASHES, TEXT, tidy

WIDTH, HEIGHT = 5.2, 3.9  # inches per axes
LETTERS_PER_INCH = 12.5


def panels(
    claim: str, columns: int = 1, rows: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with axes in rows and columns, and the claim above them.

    Args:
        claim: One sentence; long ones are wrapped.
        columns: Number of axes in a row.
        rows: Number of rows.
        options: Passed to `Figure.subplots`.
    """
    width = max(WIDTH * columns, 6.4)
    figure = Figure(figsize=(width, HEIGHT * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).flatten().tolist()
    text = textwrap.fill(claim, int(width * LETTERS_PER_INCH))
    figure.suptitle(text, fontsize=9.5, color=TEXT, x=0.01, ha="left")
    return figure, [tidy(ax) for ax in axes]


def style(number: int) -> dict[str, Any]:
    """Colour and dashes of the line with this number, from 0; no two of 28 are the same."""
    dashes = DASHES[number // len(COLORS) % len(DASHES)]
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": (0, dashes) if dashes else "solid",
        "linewidth": 1.8,
    }


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The slope of the least-squares line through the logarithms of points."""
    import numpy as np

    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])
