"""A scored board."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chronograd.results import PathLike, Results, read
from scoring.fixed_step import make_board
from scoring.leaderboard import Leaderboard, make_leaderboard
from scoring.plain import to_plain
from scoring.reading.fixed_step import one_entry
from scoring.reading.loss_curves import read_published
from scoring.reading.runs import Runs
from scoring.records import UserError
from scoring.reference import load_reference
from scoring.report import fixed_step
from scoring.report.complete import to_complete_json
from scoring.report.tables import table
from scoring.times import METHODS
from scoring.verdicts import pair_verdict, verdict

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
        plain: dict[str, Any] = to_plain(to_complete_json(self._board))
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


class FixedStepBoard(Board):
    """Entries tested at a fixed step, against the target and against each other.

    Attributes:
        results: The results that were scored.
    """

    def __init__(self, results: Results, runs: Runs, published: PathLike | None) -> None:
        table = None if published is None else read_published(Path(published))
        self._tests = make_board(runs, table)
        self.results = results

    @property
    def scores(self) -> dict[str, float]:
        """The mean loss of every tested entry at its stopping step, in the order of the board."""
        return {r.name: r.mean for r in self._tests.results if r.test is not None}

    @property
    def verdicts(self) -> dict[str, str]:
        """The outcome of every entry's test in words."""
        return {result.name: verdict(self._tests, result) for result in self._tests.results}

    @property
    def warnings(self) -> list[str]:
        """A line for everything that is missing or that a reader must know."""
        return [*self._tests.warnings, *self._tests.remarks]

    def compare(self, first: str, second: str) -> str:
        """Whether the first entry is better than the second, in words.

        Raises:
            UserError: One of them is not on the board.
        """
        names = [one_entry(self._tests.runs, name) for name in (first, second)]
        return f"{first} is {pair_verdict(self._tests, *names)}"

    def p_values(self) -> pandas.DataFrame:
        """The probability by luck that the row is better than the column; NaN on the diagonal."""
        import pandas

        names = [result.name for result in self._tests.compared]
        tests = self._tests.pairs
        rows = [[tests[a, b].p if a != b else float("nan") for b in names] for a in names]
        return pandas.DataFrame(rows, index=names, columns=names)

    def to_pandas(self) -> pandas.DataFrame:
        """Returns a row per entry, with the columns of `chronograd score --csv`. Needs pandas."""
        import pandas

        return pandas.DataFrame(
            [fixed_step.row(self._tests, result) for result in self._tests.results],
            columns=list(fixed_step.COLUMNS),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data, as `chronograd score --json` does."""
        plain: dict[str, Any] = to_plain(fixed_step.to_json(self._tests))
        return plain

    def plot_profiles(self, ax: Axes | None = None) -> Axes:
        """Draws mean losses over stopping steps: such a board has no performance profiles."""
        from scoring.report.fixed_step_page import losses

        if ax is None:
            from matplotlib import pyplot

            _, ax = pyplot.subplots(layout="constrained")
        return losses(self._tests, ax)

    def write_html(self, path: PathLike, *, title: str = "", intro: str = "") -> None:
        """Writes the page of `chronograd score --html`."""
        from scoring.report.fixed_step_page import write_html
        from scoring.report.page import About

        write_html(self._tests, Path(path), About(title=title, intro=intro))

    def _repr_html_(self) -> str:
        from scoring.report.page import markdown

        return markdown(fixed_step.to_markdown(self._tests))

    def __repr__(self) -> str:
        tested = ", ".join(f"{name} {verdict}" for name, verdict in self.verdicts.items())
        return f"<chronograd.FixedStepBoard: {tested}>"


def score(
    results: Results | PathLike | Sequence[PathLike],
    *,
    method: Literal["rules", "official"] = "rules",
    resample: Literal["studies", "workloads"] = "studies",
    seed: int = 0,
    reference: PathLike | None = None,
    published: PathLike | None = None,
) -> Board:
    """Scores and ranks submissions relative to each other.

    Args:
        results: Results from `read`, or folders to read with default options.
        method: "rules" for AlgoPerf's written rules, "official" for what its script computes.
        resample: What to resample for intervals: "studies", or "workloads" for both.
        seed: Seed for drawing the resamples.
        reference: A file of `chronograd score --save-reference` to score against as well.
        published: For a board at a fixed step: a CSV file with the columns result, steps and, if
            known, mean_loss and runs; each entry is tested at its published step.

    Returns:
        A board; if the ruleset tests losses at a fixed step, a `FixedStepBoard`.

    Raises:
        UserError: The results cannot be scored by this method: a trial that matters was pruned.
        ValueError: `method` or `resample` is unknown.
    """
    if not isinstance(results, Results):
        results = read(results)
    if isinstance(results._results, Runs):
        return FixedStepBoard(results, results._results, published)
    if published is not None:
        raise UserError("published results are for a board at a fixed step: ruleset 'track3'")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if resample not in ("studies", "workloads"):
        raise ValueError(f"resample must be 'studies' or 'workloads', got {resample!r}")
    frozen = None if reference is None else load_reference(Path(os.fspath(reference)))
    board = make_leaderboard(results._results, METHODS[method], frozen, resample, seed)
    return Board(board, results)
