"""A scored board."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chronograd.results import PathLike, Results, read
from scoring.leaderboard import Leaderboard, make_leaderboard
from scoring.plain import to_plain
from scoring.reference import load_reference
from scoring.report.tables import table, to_json
from scoring.times import METHODS

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


class Board:
    """Scores, ranks and times with their uncertainty, made by `score`; notebooks show it as tables.

    Attributes:
        results: The results that were scored.
    """

    def __init__(self, board: Leaderboard, results: Results) -> None:
        self._board = board
        self.results = results

    @property
    def scores(self) -> dict[str, float]:
        """The score of every submission, from 0 to 1, the best first."""
        return {standing.name: standing.score for standing in self._board.standings}

    @property
    def warnings(self) -> list[str]:
        """A line for everything that is missing or that a reader must know."""
        return [*self._board.warnings, *self._board.remarks]

    def to_pandas(self) -> pandas.DataFrame:
        """Returns a row per submission, best first, with the columns of `chronograd score --csv`.

        Times are seconds, infinite for a miss: `WORKLOAD/seconds`. Needs pandas.
        """
        import pandas

        columns, rows = table(self._board)
        return pandas.DataFrame(rows, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data, as `chronograd score --json` does; None is a miss."""
        from scoring.efficiency import efficiency
        from scoring.report.efficiency import to_plain as efficiency_to_plain

        spent = efficiency_to_plain(efficiency(self._board.results), None)
        plain: dict[str, Any] = to_plain(to_json(self._board) | spent)
        return plain

    def plot_profiles(self, ax: Axes | None = None) -> Axes:
        """Draws the performance profiles: the share of workloads solved within tau of the fastest.

        Args:
            ax: The axes to draw on; None for a new pyplot figure, which a notebook shows.

        Returns:
            The axes.
        """
        from scoring.report.plots import performance_profiles

        if ax is None:
            from matplotlib import pyplot

            _, ax = pyplot.subplots(layout="constrained")
        return performance_profiles(self._board, ax)

    def write_html(self, path: PathLike, *, title: str = "", intro: str = "") -> None:
        """Writes the page of `chronograd score --html`.

        Args:
            path: The file to write.
            title: The heading; "" for "Leaderboard: RULESET".
            intro: An introduction in Markdown.
        """
        from scoring.report.page import About, write_html

        write_html(self._board, Path(path), About(title=title, intro=intro))

    def _repr_html_(self) -> str:
        from scoring.report.page import render_small

        return render_small(self._board)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {score:.4f}" for name, score in self.scores.items())
        return f"<chronograd.Board: {scores}>"


def score(
    results: Results | PathLike | Sequence[PathLike],
    *,
    method: Literal["rules", "official"] = "rules",
    resample: Literal["studies", "workloads"] = "studies",
    seed: int = 0,
    reference: PathLike | None = None,
) -> Board:
    """Scores and ranks submissions relative to each other.

    Args:
        results: Results from `read`, or folders to read with default options.
        method: "rules" for AlgoPerf's written rules, "official" for what its script computes.
        resample: What to resample for intervals: "studies", or "workloads" for both.
        seed: Seed for drawing the resamples.
        reference: A file of `chronograd score --save-reference` to score against as well.

    Raises:
        UserError: The results cannot be scored by this method: a trial that matters was pruned.
        ValueError: `method` or `resample` is unknown.
    """
    if not isinstance(results, Results):
        results = read(results)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if resample not in ("studies", "workloads"):
        raise ValueError(f"resample must be 'studies' or 'workloads', got {resample!r}")
    frozen = None if reference is None else load_reference(Path(os.fspath(reference)))
    board = make_leaderboard(results._results, METHODS[method], frozen, resample, seed)
    return Board(board, results)
