"""What score, explain and compare do with a board at a fixed step."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.files import finish, write_files
from harness.cli.options import console, print_json, say

if TYPE_CHECKING:
    from scoring.fixed_step import FixedStepBoard
    from scoring.report.explain import Reason


_TIMES_ONLY = (  # options of score that are for times to target
    "--suite", "--verify", "--relax", "--relax-sweep", "--step-times", "--speedup", "--reference",
    "--save-reference", "--method official",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that `score` writes, and what the page says."""

    json_file: Path | None
    csv_file: Path | None
    markdown: Path | None
    parquet: Path | None
    html: Path | None
    plots: Path | None
    title: str
    introduction: str


def fixed_step_board(
    directories: Sequence[Path],
    ruleset: str | None,
    tuning: str | None,
    curves: Path | None = None,
    published: Path | None = None,
) -> FixedStepBoard | None:
    """Reads and tests the runs if the ruleset's board is one at a fixed step, else returns None.

    Raises:
        UserError: There is nothing to read, or --curves or --published is given for another board.
    """
    from scoring import rulesets
    from scoring.fixed_step import make_board
    from scoring.reading.fixed_step import fixed_step_ruleset, read_runs
    from scoring.reading.loss_curves import read_published
    from scoring.records import UserError

    if not directories and curves is None:
        raise UserError("nothing to score: give DIR, the --out folder of a sweep or logs")
    given = None if ruleset is None else rulesets.load(ruleset)
    rules = fixed_step_ruleset(directories, given)
    option = "--curves" if curves else "--published" if published else ""
    if rules is None and option:
        raise UserError(f"{option} needs a ruleset with tests at a fixed step: --ruleset track3")
    if rules is None:
        return None
    table = None if published is None else read_published(published)
    known = given is not None
    runs = read_runs(directories, rules, given=known, tuning=tuning, curves=curves)
    return make_board(runs, table)


def refuse_for_runs(board: FixedStepBoard, *options: object) -> None:
    """Raises UserError if one of the options `_TIMES_ONLY` is given."""
    from scoring.records import UserError

    name = board.runs.ruleset.name
    for option, given in zip(_TIMES_ONLY, options, strict=True):
        if given:
            raise UserError(
                f"{option} is for times to target; ruleset {name} compares losses at a fixed step: "
                "leave it out"
            )


def score_runs(board: FixedStepBoard, outputs: Outputs, *, strict: bool) -> None:
    """Prints a board and writes its files."""
    from scoring.plain import write_json
    from scoring.report import fixed_step as report
    from scoring.writing import write_text

    if strict and board.runs.findings:
        _say_remarks(board)
        say("--strict: nothing is ranked; docs/integrity.md explains the findings", style="red")
        raise typer.Exit(1)
    writers: list[tuple[Path | None, Callable[[Path], Any]]] = [
        (outputs.json_file, lambda path: write_json(path, report.to_json(board))),
        (outputs.csv_file, lambda path: write_text(path, report.to_csv(board))),
        (outputs.markdown, lambda path: write_text(path, report.to_markdown(board))),
        (outputs.parquet, lambda path: _save_parquet(board, path)),
        (outputs.html, lambda path: _save_html(board, path, outputs)),
        (outputs.plots, lambda path: _save_plots(board, path)),
    ]
    unwritten = write_files(writers)  # before the tables, which the terminal may fail to show
    console.print(report.results_table(board))
    if board.published:
        console.print(report.published_table(board))
    _say_remarks(board)
    finish(unwritten, board.warnings, strict=strict)


def _save_parquet(board: FixedStepBoard, folder: Path) -> None:
    from scoring.report.fixed_step_arrow import write_parquet

    write_parquet(board, folder)


def _save_html(board: FixedStepBoard, path: Path, outputs: Outputs) -> None:
    from scoring.report.fixed_step_page import write_html
    from scoring.report.page import About

    command = shlex.join(["chronograd", *sys.argv[1:]])
    write_html(board, path, About(title=outputs.title, intro=outputs.introduction, command=command))


def _save_plots(board: FixedStepBoard, folder: Path) -> None:
    from scoring.report.fixed_step_page import save_plots

    save_plots(board, folder)


def explain_runs(board: FixedStepBoard, entry: str) -> Reason:
    """Explains the test of an entry."""
    from scoring.reading.fixed_step import one_entry
    from scoring.report.explain_fixed_step import explain

    return explain(board, board.result(one_entry(board.runs, entry)))


def compare_runs(board: FixedStepBoard, first: str, second: str, *, as_json: bool) -> None:
    """Prints the tests of two entries against each other."""
    from scoring.plain import to_plain
    from scoring.reading.fixed_step import one_entry
    from scoring.records import UserError
    from scoring.report.fixed_step import entry_json, pair_lines

    names = [one_entry(board.runs, name) for name in (first, second)]
    if first == second:
        raise UserError(f"{first} is compared with itself; name two entries")
    if as_json:
        entries = [entry_json(board, board.result(name)) for name in names]
        for entry, other in zip(entries, reversed(names), strict=True):
            entry["against"] = {other: entry["against"].get(other)}
        print_json(to_plain({"entries": entries}))
        return
    for warning in board.runs.warnings:
        say(f"warning: {warning}", style="yellow")
    for line in pair_lines(board, *names):
        say(line)


def _say_remarks(board: FixedStepBoard) -> None:
    """Prints findings, warnings and notes, which the tables do not show."""
    for finding in board.runs.findings:
        say(f"integrity: {finding}", style="red")
    for warning in board.warnings:
        say(f"warning: {warning}", style="yellow")
    for remark in board.remarks:
        say(f"note: {remark}")
