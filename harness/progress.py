"""Progress of a sweep: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.driver import Watcher
from harness.plan import Experiment
from scoring.records import EvalRow, Status, TrialResult, TrialSpec


@contextmanager
def watch(console: Console) -> Iterator[Watcher]:
    """The progress that suits the console: live in a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    progress = LiveProgress(console)
    with Live(console=console, get_renderable=progress.render, refresh_per_second=4):
        yield progress


def describe_end(spec: TrialSpec, result: TrialResult) -> str:
    """One line: how a trial ended, where, and what it had reached."""
    where = f"step {result.global_step:,}, {result.submission_seconds:.2f} s"
    value = _value(spec, result.rows[-1]) if result.rows else "no evaluation"
    failure = f" ({result.failure}: {result.message})" if result.failure else ""
    return f"{result.status}{failure} at {where}: {value}"


def _value(spec: TrialSpec, row: EvalRow) -> str:
    sign = "<=" if spec.goal.direction == "min" else ">="
    value = row.metrics[spec.goal_column]
    return f"{spec.goal_column} {value:.5g} (target {sign} {spec.goal.target:.5g})"


class PlainProgress:
    """A line for every trial that ends, and for every row of a single trial.

    Args:
        console: Where to.
        rows: Whether every evaluation gets a line too.
    """

    def __init__(self, console: Console, rows: bool = False) -> None:
        self._console, self._rows = console, rows
        self._total = self._done = 0

    def planned(self, experiment: Experiment, left: Sequence[TrialSpec]) -> None:
        """Says how much there is to do."""
        self._total, self._done = len(left), 0
        self._console.print(describe_left(experiment, left), highlight=False)

    def started(self, spec: TrialSpec) -> None:
        """Nothing to say."""

    def measured(self, spec: TrialSpec, row: EvalRow) -> None:
        """One evaluation."""
        if self._rows:
            self._console.print(
                f"step {row.global_step:>8,}  {row.submission_seconds:9.2f} s  {_value(spec, row)}",
                highlight=False,
            )

    def told(self, spec: TrialSpec, message: str) -> None:
        """A line."""
        self._console.print(f"{spec.name} {message}", highlight=False, markup=False)

    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """One trial."""
        self._done += 1
        line = f"[{self._done}/{self._total}] {spec.name}: {describe_end(spec, result)}"
        self._console.print(line, highlight=False, markup=False)


def describe_left(experiment: Experiment, left: Sequence[TrialSpec]) -> str:
    """One line: how many trials there are, and how many of them are still to run."""
    total = sum(1 for _ in experiment.specs())
    done = total - len(left)
    if not left:
        return f"All trials ({total}) are done already: nothing to run."
    kept = f"{done} done already, " if done else ""
    return f"Trials: {total} planned, {kept}{len(left)} to run."


class LiveProgress:
    """A table of submissions by workloads, the trials under way, and the time left.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._experiment: Experiment | None = None
        self._left = self._ended_now = 0
        self._began = time.monotonic()
        self._planned: Counter[tuple[str, str]] = Counter()
        self._done: Counter[tuple[str, str]] = Counter()
        self._by_status: Counter[Status] = Counter()
        self._reached: Counter[tuple[str, str]] = Counter()
        self._running: dict[str, tuple[TrialSpec, EvalRow | None]] = {}

    def planned(self, experiment: Experiment, left: Sequence[TrialSpec]) -> None:
        """Begins a table."""
        self._console.print(describe_left(experiment, left), highlight=False)
        self._experiment = experiment
        self._left, self._ended_now, self._began = len(left), 0, time.monotonic()
        self._by_status, self._reached = Counter(), Counter()
        self._planned = Counter((s.submission, s.workload) for s in experiment.specs())
        self._done = self._planned - Counter((s.submission, s.workload) for s in left)

    def started(self, spec: TrialSpec) -> None:
        """One trial more under way."""
        self._running[spec.name] = (spec, None)

    def measured(self, spec: TrialSpec, row: EvalRow) -> None:
        """Its latest evaluation."""
        self._running[spec.name] = (spec, row)

    def told(self, spec: TrialSpec, message: str) -> None:
        """A line above the table."""
        self._console.print(f"{spec.name} {message}", highlight=False, markup=False)

    def ended(self, spec: TrialSpec, result: TrialResult) -> None:
        """One trial done; a failed one is told at once."""
        self._running.pop(spec.name, None)
        done = result.status is not Status.INTERRUPTED
        self._done[spec.submission, spec.workload] += done
        self._reached[spec.submission, spec.workload] += result.status is Status.REACHED
        self._by_status[result.status] += 1
        self._ended_now += done
        if result.status is Status.FAILED:
            line = f"{spec.name}: {describe_end(spec, result)}"
            self._console.print(line, style="red", highlight=False, markup=False)

    def render(self) -> Group:
        """The table as it stands."""
        if self._experiment is None:
            return Group(Text("Starting Ray, timing the baseline's step..."))
        experiment = self._experiment
        table = Table("submission", *experiment.workloads, title_justify="left")
        for name in experiment.submissions:
            table.add_row(Text(name), *(self._cell(name, w) for w in experiment.workloads))
        under_way = Table.grid(padding=(0, 2))
        for spec, row in list(self._running.values()):
            at = "starting" if row is None else f"{row.submission_seconds:.1f} s"
            value = "" if row is None else _value(spec, row)
            under_way.add_row("running", Text(spec.name), at, value)
        return Group(table, under_way, Text(self._status_line()))

    def _cell(self, name: str, workload: str) -> str:
        done, planned = self._done[name, workload], self._planned[name, workload]
        reached = self._reached[name, workload]
        return f"{done}/{planned}" + (f"  {reached} reached" if reached else "")

    def _status_line(self) -> str:
        elapsed = time.monotonic() - self._began
        left = self._left - self._ended_now
        remaining = elapsed / self._ended_now * left if self._ended_now else None
        parts = [f"{n} {status}" for status, n in sorted(self._by_status.items())]
        parts += [f"{left} left", f"{elapsed:.0f} s elapsed"]
        if remaining is not None and left:
            parts.append(f"about {remaining:.0f} s to go")
        return ", ".join(parts)
