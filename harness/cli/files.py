"""The files that commands read and write, such as those of `score`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.options import say

if TYPE_CHECKING:
    from scoring.continuous import Continuous
    from scoring.leaderboard import Leaderboard
    from scoring.records import UserError
    from scoring.views import RelaxationSweep


def write_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a file of results, and prints its path."""
    from scoring.records import UserError

    try:
        write(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}); choose another path") from None
    say(f"Written: {path}")


def write_files(writers: Sequence[tuple[Path | None, Callable[[Path], Any]]]) -> list[UserError]:
    """Writes each file whose path is given; returns the errors, so that the rest is written."""
    from scoring.records import UserError

    unwritten: list[UserError] = []
    for path, write in writers:
        try:
            if path is not None:
                write_file(path, write)
        except UserError as error:
            unwritten.append(error)
    return unwritten


def finish(unwritten: Sequence[UserError], warnings: Sequence[str], *, strict: bool) -> None:
    """Raises the first error of writing; with --strict, exits with 1 if there are warnings."""
    if unwritten:
        raise unwritten[0]
    if strict and warnings:
        say(f"--strict: {len(warnings)} warning{'s' * (len(warnings) > 1)}", style="red")
        raise typer.Exit(1)


def save_parquet(board: Leaderboard, folder: Path) -> None:
    """Writes the tables of --parquet."""
    from scoring.report.parquet import write_pairs, write_parquet

    write_parquet(board.results, folder)
    write_pairs(board.pairs, folder)


def save_html(
    board: Leaderboard,
    path: Path,
    title: str,
    intro: str,
    sweep: RelaxationSweep | None,
    beside: Continuous,
) -> None:
    """Writes the page of --html."""
    from scoring.report.page import About, write_html

    command = shlex.join(["chronograd", *sys.argv[1:]])
    write_html(board, path, About(title=title, intro=intro, command=command), sweep, beside)


def read_introduction(path: Path | None) -> str:
    """Returns the text of --intro FILE."""
    from scoring.files import read_text
    from scoring.records import UserError

    try:
        return "" if path is None else read_text(path)
    except (OSError, ValueError) as error:
        raise UserError(f"--intro {path}: cannot be read ({error}); pass a Markdown file") from None


def save_plots(board: Leaderboard, folder: Path, sweep: RelaxationSweep | None) -> None:
    """Writes the figures of --plots."""
    from scoring.report import plots
    from scoring.report.efficiency import save_relaxation

    plots.save_plots(board, folder)
    if sweep is not None:
        save_relaxation(board, sweep, folder)
