"""The commands that read a results tree: status, score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.cli.options import JsonOption, console, print_json, say


def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR")], as_json: JsonOption = False
) -> None:
    """What of a sweep is done, running, failed and left, and the hours spent."""
    from harness.status import read_status

    state = read_status(directory)
    if as_json:
        print_json(state.to_plain())
        return
    table = Table("state", "trials")
    for name, count in state.counts.items():
        table.add_row(name, str(count))
    console.print(table)
    say(f"{state.hours_spent:.3f} hours on the submission clock so far")
    for line in state.failures:
        say(line, style="red")


def score(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    json_file: Annotated[Path | None, typer.Option("--json", help="write the scores here")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write the table here")] = None,
    html: Annotated[Path | None, typer.Option(help="write a self-contained page here")] = None,
    plots: Annotated[Path | None, typer.Option(help="write the figures into this folder")] = None,
) -> None:
    """Scores a results tree: time to target, performance profiles, leaderboard.

    Example: chronograd score results/demo --html results/demo/leaderboard.html
    """
    from scoring.leaderboard import make_leaderboard, to_csv, to_json
    from scoring.read import read_tree
    from scoring.records import write_json
    from scoring.report import terminal_table, write_html

    results = read_tree(directory)
    board = make_leaderboard(results)
    console.print(terminal_table(board))
    for warning in results.warnings:
        say(f"warning: {warning}", style="yellow")
    if json_file is not None:
        write_json(json_file, to_json(board))
    if csv_file is not None:
        csv_file.parent.mkdir(parents=True, exist_ok=True)
        csv_file.write_text(to_csv(board), encoding="utf-8")
    if html is not None:
        write_html(results, board, html)
    if plots is not None:
        from scoring.plots import save_plots

        save_plots(results, board, plots)
    for written in (json_file, csv_file, html, plots):
        if written is not None:
            say(f"Written: {written}")
