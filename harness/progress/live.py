"""Shows the progress of a sweep in its driver: a live board in a terminal, else plain lines."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from harness.progress.board import describe_goal, describe_hours, describe_trials, draw
from harness.progress.status import SweepStatus, read_status
from harness.sweep.callback import SweepCallback
from harness.system import debug_log, timers
from scoring.experiment import Experiment
from scoring.records import EvalRow, Status, TrialResult, TrialSpec

SUMMARY_SECONDS = 600.0  # without a line, after which a summary is printed to a log


@contextmanager
def watch(console: Console) -> Iterator[SweepCallback]:
    """Returns a callback that shows progress: live in a terminal, unless with a debug log."""
    if console.is_terminal and not debug_log.is_on():  # whose lines would damage the board
        progress = LiveProgress(console)
        with Live(console=console, get_renderable=progress.render, refresh_per_second=1):
            yield progress
        return
    lines, over = PlainProgress(console), threading.Event()
    threading.Thread(target=_print_summaries, args=(lines, over), daemon=True).start()
    try:
        yield lines
    finally:
        over.set()


def _print_summaries(lines: PlainProgress, over: threading.Event) -> None:
    while not over.wait(SUMMARY_SECONDS / 10):
        with suppress(Exception):  # the tree may be readable again later
            lines.print_summary_if_quiet()


def describe_end(spec: TrialSpec, result: TrialResult) -> str:
    """Returns a line with the status of a trial, its last step and its last metric."""
    seconds = "" if _by_steps(spec) else f", {result.submission_seconds:.2f} s"
    where = f"step {result.global_step:,}{_work(result)}{seconds}"
    value = _value(spec, result.rows[-1]) if result.rows else "no evaluation"
    failure = f" ({result.failure}: {result.message})" if result.failure else ""
    return f"{result.status}{failure} at {where}: {value}"


def _work(at: EvalRow | TrialResult) -> str:
    """Returns the training work, unless it equals the number of steps."""
    return "" if at.work is None or at.work == at.global_step else f", training work {at.work:,g}"


def _by_steps(spec: TrialSpec) -> bool:
    """Whether the ruleset is by steps, which have no time."""
    return spec.eval_period_steps is not None


def _value(spec: TrialSpec, row: EvalRow) -> str:
    return describe_goal(spec.goal, spec.goal_column, row.metrics[spec.goal_column])


def describe_left(experiment: Experiment, left: Sequence[TrialSpec]) -> str:
    """Returns a line with the number of planned trials and of those left to run."""
    total = sum(1 for _ in experiment.specs())
    done = total - len(left)
    if not left:
        return f"All trials ({total}) are done already: nothing to run."
    kept = f"{done} done already, " if done else ""
    return f"Trials: {total} planned, {kept}{len(left)} to run."


class PlainProgress:
    """Prints a line for each trial that ends, and optionally for each evaluation.

    Args:
        console: Console to print to.
        rows: Whether to print a line for each evaluation.
    """

    def __init__(self, console: Console, rows: bool = False) -> None:
        self._console, self._rows = console, rows
        self._total = self._done = 0
        self._out: Path | None = None
        self._status: SweepStatus | None = None  # read by the first summary
        self._last_print = timers.monotonic()

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Prints the number of trials to run."""
        self._total, self._done = len(left), 0
        self._out, self._status = out, None
        self._print(describe_left(experiment, left))

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Prints nothing."""

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """Prints an evaluation."""
        if self._rows:
            at = f"step {row.global_step:>8,}"
            if not _by_steps(spec):
                at += f"  {row.submission_seconds:9.2f} s"
            self._print(f"{at}{_work(row)}  {_value(spec, row)}")

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """Prints a message."""
        self._print(f"{spec.key} {message}" if spec else message)

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Prints how a trial ended."""
        self._done += 1
        self._print(f"[{self._done}/{self._total}] {spec.key}: {describe_end(spec, result)}")

    def print_summary_if_quiet(self) -> None:
        """Prints a summary after SUMMARY_SECONDS without a line; called by another thread."""
        if self._out is None or timers.monotonic() - self._last_print < SUMMARY_SECONDS:
            return
        self._status = self._status or read_status(self._out)
        self._status.refresh()
        self._print(f"{describe_trials(self._status)}; {describe_hours(self._status)}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)
        self._last_print = timers.monotonic()


class LiveProgress:
    """Shows the board of a running sweep, with messages and failures above it.

    Args:
        console: Terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: SweepStatus | None = None
        self._board = Group(Text("Starting Ray, timing the baseline's step..."))

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Starts a new board."""
        self._print(describe_left(experiment, left))
        self._status = read_status(out)

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Does nothing: the board reads the ledger."""

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """Does nothing: the board reads the ledger."""

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """Prints a message above the board."""
        self._print(f"{spec.key} {message}" if spec else message)

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """Prints a failed trial above the board."""
        if result.status is Status.FAILED:
            self._print(f"{spec.key}: {describe_end(spec, result)}", style="red")

    def render(self) -> Group:
        """Returns the current board, or the last one if it cannot be drawn."""
        if self._status is None:
            return self._board
        with suppress(Exception):  # an outdated board is better than none
            self._status.refresh()
            self._board = draw(self._status, self._console)
        return self._board

    def _print(self, line: str, style: str = "") -> None:
        self._console.print(line, style=style, highlight=False, markup=False)
