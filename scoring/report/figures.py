"""The figures of the page, as SVG."""

from __future__ import annotations

from dataclasses import dataclass

from scoring.hyperparameters import Winners
from scoring.leaderboard import Leaderboard
from scoring.report.curves import learning_curves
from scoring.report.plots import figure, performance_profiles
from scoring.report.slices import slices
from scoring.report.svg import svg

_POINTS = 72  # an SVG's unit, per inch


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a page, as SVG elements.

    Attributes:
        profiles: The performance profiles.
        geometry: The ends of their horizontal axis, in the units of the SVG.
        curves: Learning curves, by workload.
        slices: Slice plots, by workload; only where a hyperparameter varies.
    """

    profiles: str
    geometry: dict[str, float]
    curves: dict[str, str]
    slices: dict[str, str]


def figures(board: Leaderboard, won: Winners) -> Figures:
    """Draws all figures of a board's page."""
    drawn = figure()
    ax = performance_profiles(board, drawn.add_subplot())
    profiles = svg(drawn, "profiles")
    box, scale = ax.get_window_extent(), _POINTS / drawn.dpi
    curves, sliced = {}, {}
    for workload in board.results.scope.workloads:
        drawn = figure()
        learning_curves(board, workload, drawn.add_subplot())
        curves[workload] = svg(drawn, workload)
        found = slices(board, workload, won)
        if found is not None:
            sliced[workload] = svg(found, f"slices {workload}")
    geometry = {"left": box.x0 * scale, "right": box.x1 * scale}
    return Figures(profiles, geometry, curves, sliced)
