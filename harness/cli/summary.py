"""The end of commands that run trials: their summary and their exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.cli.options import INTERRUPTED, say
from scoring.tree import TRACEBACK_FILE, trial_folder

if TYPE_CHECKING:
    from harness.sweep.recorder import Summary


def warn(text: str) -> None:
    """Prints a warning."""
    say(text, style="yellow")


def conclude(summary: Summary, out: Path) -> None:
    """Prints how a sweep ended, and exits with the corresponding code."""
    from harness.progress.status import group_failures

    counts = ", ".join(f"{count} {how}" for how, count in sorted(summary.by_status.items()))
    if counts:
        say(f"This run: {counts}.")
    failed = ((spec.key, result.failure, result.message) for spec, result in summary.failed)
    for line in group_failures(failed):
        say(f"failed: {line}", style="red")
    say_tracebacks(summary, out)
    if summary.left:
        say(f"{summary.left} trials are left. Continue with: chronograd resume {out}")
    say(f"Records in {out}. Leaderboard: chronograd score {out}")
    exit_by(summary)


def say_tracebacks(summary: Summary, out: Path) -> None:
    """Prints where the first traceback is, if there is one."""
    for spec, result in summary.failed:
        if result.traceback:
            say(f"Traceback: {trial_folder(out, spec) / TRACEBACK_FILE}")
            return


def exit_by(summary: Summary) -> None:
    """Exits with code 1 if a trial failed, 130 if the sweep was interrupted."""
    if summary.left:
        raise typer.Exit(INTERRUPTED)
    if summary.failed:
        raise typer.Exit(1)
