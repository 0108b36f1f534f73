"""Progress of a sweep, told by its driver: a live table in a terminal, plain lines elsewhere."""

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
from harness.system import timers
from scoring.experiment import Experiment
from scoring.records import EvalRow, Status, TrialResult, TrialSpec

SILENCE = 600.0  # seconds without a line after which a log gets a summary


@contextmanager
def watch(console: Console) -> Iterator[SweepCallback]:
    """The progress that suits the console: live in a terminal, lines elsewhere."""
    if console.is_terminal:
        progress = LiveProgress(console)
        with Live(console=console, get_renderable=progress.render, refresh_per_second=1):
            yield progress
        return
    lines, over = PlainProgress(console), threading.Event()
    threading.Thread(target=_break_silences, args=(lines, over), daemon=True).start()
    try:
        yield lines
    finally:
        over.set()


def _break_silences(lines: PlainProgress, over: threading.Event) -> None:
    while not over.wait(SILENCE / 10):
        with suppress(Exception):  # what cannot be read now may be read later
            lines.break_silence()


def describe_end(spec: TrialSpec, result: TrialResult) -> str:
    """One line: how a trial ended, where, and what it had reached."""
    work = _work(result)
    where = f"step {result.global_step:,}, {work}{result.submission_seconds:.2f} s"
    value = _value(spec, result.rows[-1]) if result.rows else "no evaluation"
    failure = f" ({result.failure}: {result.message})" if result.failure else ""
    return f"{result.status}{failure} at {where}: {value}"


def _work(at: EvalRow | TrialResult) -> str:
    """The training work, where that is not one batch of the workload's size for each step."""
    return "" if at.work is None or at.work == at.global_step else f"training work {at.work:,g}, "


def _value(spec: TrialSpec, row: EvalRow) -> str:
    return describe_goal(spec.goal, spec.goal_column, row.metrics[spec.goal_column])


def describe_left(experiment: Experiment, left: Sequence[TrialSpec]) -> str:
    """One line: how many trials there are, and how many of them are still to run."""
    total = sum(1 for _ in experiment.specs())
    done = total - len(left)
    if not left:
        return f"All trials ({total}) are done already: nothing to run."
    kept = f"{done} done already, " if done else ""
    return f"Trials: {total} planned, {kept}{len(left)} to run."


class PlainProgress:
    """A line for every trial that ends, and for every row of a single trial.

    Args:
        console: Where to.
        rows: Whether every evaluation gets a line too.
    """

    def __init__(self, console: Console, rows: bool = False) -> None:
        self._console, self._rows = console, rows
        self._total = self._done = 0
        self._out: Path | None = None
        self._status: SweepStatus | None = None  # read when it is first needed
        self._said = timers.monotonic()

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Says how much there is to do."""
        self._total, self._done = len(left), 0
        self._out, self._status = out, None
        self._say(describe_left(experiment, left))

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Nothing to say."""

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """One evaluation."""
        if self._rows:
            at = f"step {row.global_step:>8,}  {row.submission_seconds:9.2f} s"
            self._say(f"{at}  {_work(row)}{_value(spec, row)}")

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """A line."""
        self._say(f"{spec.key} {message}" if spec else message)

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """One trial."""
        self._done += 1
        self._say(f"[{self._done}/{self._total}] {spec.key}: {describe_end(spec, result)}")

    def break_silence(self) -> None:
        """Sums up where nothing was said for long; called by another thread."""
        if self._out is None or timers.monotonic() - self._said < SILENCE:
            return
        self._status = self._status or read_status(self._out)
        self._status.refresh()
        self._say(f"{describe_trials(self._status)}; {describe_hours(self._status)}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)
        self._said = timers.monotonic()


class LiveProgress:
    """The board of the sweep under way, and above it what should not be missed.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: SweepStatus | None = None
        self._board = Group(Text("Starting Ray, timing the baseline's step..."))

    def on_sweep_start(self, experiment: Experiment, out: Path, left: Sequence[TrialSpec]) -> None:
        """Begins a board."""
        self._say(describe_left(experiment, left))
        self._status = read_status(out)

    def on_trial_start(self, spec: TrialSpec) -> None:
        """The ledger has it."""

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """The ledger has it."""

    def on_message(self, spec: TrialSpec | None, message: str) -> None:
        """A line above the board."""
        self._say(f"{spec.key} {message}" if spec else message)

    def on_trial_end(self, spec: TrialSpec, result: TrialResult) -> None:
        """A failed trial is told at once."""
        if result.status is Status.FAILED:
            self._say(f"{spec.key}: {describe_end(spec, result)}", style="red")

    def render(self) -> Group:
        """The board as the ledger has it now; the one before where it cannot be drawn."""
        if self._status is None:
            return self._board
        with suppress(Exception):  # a board that is late harms nobody
            self._status.refresh()
            self._board = draw(self._status, self._console)
        return self._board

    def _say(self, line: str, style: str = "") -> None:
        self._console.print(line, style=style, highlight=False, markup=False)
