"""The command status, which shows the state of a sweep, from any shell."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import JsonOption, console, print_json, say
from harness.sweep.preparation import read_preparation
from harness.system import timers
from scoring.tree import EXPERIMENT_FILE

if TYPE_CHECKING:
    from harness.progress.status import SweepStatus

REFRESH_SECONDS = 2.0


def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="the sweep's results directory")],
    watch: Annotated[
        bool, typer.Option("--watch", help="repeat until the sweep's driver has ended")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Shows which trials of a sweep are done, running, failed and left, and hours spent and saved.

    Example: chronograd status results/demo --watch
    """
    from harness.progress.board import draw
    from harness.progress.status import read_status

    if watch and as_json:
        raise typer.BadParameter("--watch and --json cannot be combined")
    preparation = read_preparation(directory)
    if preparation and not (directory / EXPERIMENT_FILE).is_file():
        if not watch:
            print_json({"preparation": asdict(preparation)}) if as_json else say(str(preparation))
            return
        _await_plan(directory)
    state = read_status(directory)
    if as_json:
        prepared = {"preparation": asdict(preparation)} if preparation else {}
        print_json(state.to_plain() | prepared)
        return
    if watch:
        with suppress(KeyboardInterrupt):
            _follow(state)
    else:
        console.print(draw(state, console))
    if preparation:
        say(str(preparation))
    for line in state.notices:
        say(line, style="yellow")
    for line in state.distinct_failures:
        say(line, style="red")
    if not (state.alive or preparation) and not all(trial.done for trial in state.trials.values()):
        say(f"Continue with: chronograd resume {directory}")


def _await_plan(directory: Path) -> None:
    """Prints what is being prepared, until that has ended."""
    shown = None
    while preparation := read_preparation(directory):
        if preparation != shown:
            say(str(preparation))
        shown = preparation
        timers.sleep(REFRESH_SECONDS)


def _follow(state: SweepStatus) -> None:
    """Draws the state repeatedly until the driver has ended; without a terminal, at the end."""
    from rich.live import Live

    from harness.progress.board import draw

    with Live(draw(state, console), console=console, auto_refresh=False) as live:
        while state.alive:
            timers.sleep(REFRESH_SECONDS)
            state.refresh()
            live.update(draw(state, console), refresh=True)
