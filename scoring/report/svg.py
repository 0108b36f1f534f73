"""Converts a figure to an inline SVG element of the page."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.figure import Figure

from scoring.report.curves import OTHERS
from scoring.report.styles import COLORS, GRID, MUTED, TEXT


def svg(drawn: Figure, salt: str) -> str:
    """Converts a figure to an inline SVG element: text remains text, equal figures equal bytes.

    Colours become the page's, for dark mode; elements of a submission get its class; points are
    rounded to a tenth, and those that make no visible difference are left out. The XML prologue,
    the metadata and the ids that matplotlib numbers from 1 in each figure are removed (the ids that
    are referred to are hashes, made distinct by `salt`).
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": salt, "path.simplify_threshold": 0.5}
    ):
        drawn.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(rf' id="(submission-\d+){OTHERS}"', r' class="\1 others"', text)
    text = re.sub(r' id="(submission-\d+)"', r' class="\1"', text)
    text = re.sub(r' id="[a-zA-Z][\w.]*_\d+"', "", text)
    text = re.sub(r'(?<= d=")[^"]+', lambda path: _rounded(path[0]), text)
    names = [f"--series-{number}" for number in range(len(COLORS))]
    for color, name in zip(
        [*COLORS, TEXT, MUTED, GRID], [*names, "--text", "--muted", "--grid"], strict=True
    ):
        text = text.replace(color, f"var({name})")
    return text.replace("#000000", "var(--text)")


def _rounded(path: str) -> str:
    """The data of an SVG path with one decimal and no redundant blanks."""
    path = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path)
    return re.sub(r"\s+", " ", re.sub(r"\s*([A-Za-z])\s*", r"\1", path)).strip()
