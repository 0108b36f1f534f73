"""Draws the status of a sweep for a terminal of any width."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from harness.progress.status import SweepStatus, TrialState
from harness.system import timers
from scoring.escaping import printable
from scoring.experiment import PlannedWorkload
from scoring.records import EvalRow, Goal, Status

MAX_RUNNING = 12  # trials shown; a cluster may run hundreds of them
_SHARES = "▁▂▃▄▅▆▇"


class _Cell:
    """The trials of a submission on a workload."""

    def __init__(self) -> None:
        self.planned = self.done = self.reached = self.failed = 0

    def add(self, trial: TrialState) -> None:
        self.planned += 1
        self.done += trial.done
        self.reached += trial.state == Status.REACHED
        self.failed += trial.state == Status.FAILED

    @property
    def style(self) -> str:
        if self.failed:
            return "red"
        return "green" if self.done == self.planned else ""

    def fraction(self) -> str:
        return f"{self.done}/{self.planned}"

    def reaching(self) -> str:
        return self.fraction() + (f" {self.reached} reached" if self.reached else "")

    def bar(self) -> str:
        """Returns one character that shows the share of trials that are done."""
        if self.done == 0 or self.done == self.planned:
            return "█" if self.done else "·"
        return _SHARES[len(_SHARES) * self.done // self.planned]


def draw(status: SweepStatus, console: Console) -> Group:
    """Returns totals, running trials, and a table of workloads by submissions that fits."""
    totals = (describe_trials(status), describe_hours(status), describe_driver(status))
    return Group(Text("\n".join(totals)), _running(status, console), _grid(status, console))


def describe_trials(status: SweepStatus) -> str:
    """Returns a line with the number of trials that are done, by status, and of those left."""
    trials = status.trials.values()
    done = sum(trial.done for trial in trials)
    states = Counter(trial.state for trial in trials)
    parts = [f"{states[how]:,} {how}" for how in Status if states[how]]
    running = len(status.running)
    left = len(trials) - done - running
    parts += [f"{running:,} running"] * (running > 0) + [f"{left:,} left"] * (left > 0)
    line = f"{done:,} of {len(trials):,} trials done: {', '.join(parts)}"
    if status.experiment.counts is None:
        return line
    experiment = status.experiment
    most = experiment.studies * len(experiment.submissions) * len(experiment.workloads)
    return f"{line}; --studies auto may add more, up to {most * experiment.trials_per_study:,}"


def describe_hours(status: SweepStatus) -> str:
    """Returns a line with what was spent and saved on the submission clock, and the time left.

    That is in hours, or in steps if the ruleset is by steps.
    """
    gpus = status.experiment.options.gpus_per_trial
    spent, saved = status.hours_spent, status.hours_saved_at_most
    if status.experiment.ruleset.by_steps:  # a step is charged as one second
        parts = [f"{3600 * spent:,.0f} steps made"]
        parts += [f"up to {3600 * saved:,.0f} saved by pruning"] * (saved > 0)
    else:
        unit, each = ("GPU hours", gpus) if gpus else ("CPU trial hours", 1)
        parts = [f"{each * spent:,.3f} {unit} spent on the submission clock"]
        parts += [f"up to {each * saved:,.3f} saved by pruning"] * (saved > 0)
    left = status.seconds_left()
    if left is not None:
        parts.append(f"about {describe_seconds(left)} to go")
    return ", ".join(parts)


def describe_driver(status: SweepStatus) -> str:
    """Returns a line about the driver: its process, and how long it has been running."""
    if not status.driver:
        return "The sweep has not started."
    process = f"process {status.driver.pid} on {status.driver.host}"
    if not status.alive:
        return f"No driver is running; the last one was {process}."
    uptime = describe_seconds(max(0.0, timers.time() - status.driver_since))
    return f"The driver ({process}) has been running for {uptime}."


def describe_seconds(seconds: float) -> str:
    """Formats a duration in at most two units: 40 s, 3 min, 2 h 05 min, 3 d 4 h."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def describe_used(status: SweepStatus, trial: TrialState, digits: int) -> tuple[str, str]:
    """Returns how much of its budget a running trial has used, and the budget with its unit."""
    if status.experiment.ruleset.by_steps:  # a step is charged as one second
        return (
            f"{trial.seconds:,.0f}",
            f"{status.experiment.workloads[trial.workload].step_hint:,} steps",
        )
    return f"{trial.seconds:,.{digits}f}", f"{status.budget(trial.workload):,.{digits}f} s"


def describe_goal(goal: Goal, column: str, value: float) -> str:
    """Returns a measured value and its target."""
    return f"{column} {value:.5g} (target {goal.condition})"


def _running(status: SweepStatus, console: Console) -> Table | Text:
    """Returns one line per running trial, or two if the console is too narrow."""
    running = status.running
    rows = []
    for name, trial in list(running.items())[:MAX_RUNNING]:
        rules = status.experiment.workloads[trial.workload]
        used, budget = describe_used(status, trial, digits=0)
        rows.append((printable(name), *_latest(trial.row, rules, f"{used}/{budget}")))
    if len(running) > MAX_RUNNING:
        rows.append((f"and {len(running) - MAX_RUNNING} more", "", "", ""))
    lines = Table.grid(padding=(0, 2))
    for right in (False, True, True, False):
        lines.add_column(justify="right" if right else "left", no_wrap=True)
    for row in rows:
        lines.add_row(*map(Text, row))
    unbounded = console.options.update(max_width=10_000)
    if console.measure(lines, options=unbounded).maximum <= console.width:
        return lines
    return Text("\n".join(f"{name}\n  {'  '.join(filter(None, facts))}" for name, *facts in rows))


def _latest(row: EvalRow | None, rules: PlannedWorkload, clock: str) -> tuple[str, str, str]:
    """Returns step, clock and metric of a trial's latest evaluation."""
    if row is None:
        return "", "starting", ""
    value = row.metrics.get(f"validation/{rules.goal.metric}", math.nan)
    return (
        f"step {row.global_step:,}",
        clock,
        describe_goal(rules.goal, rules.goal.metric, value),
    )


def _grid(status: SweepStatus, console: Console) -> Group | Table:
    """Returns the widest table that fits: with names, with numbers, or with bars only."""
    cells: dict[tuple[str, str], _Cell] = {}
    for trial in status.trials.values():
        for submission in (trial.submission, ""):
            cells.setdefault((submission, trial.workload), _Cell()).add(trial)
    names = list(status.experiment.submissions)
    legend = Text("   ".join(f"{number} {name}" for number, name in enumerate(names, start=1)))
    numbers = [str(number) for number in range(1, len(names) + 1)]
    unbounded = console.options.update(max_width=10_000)
    for heads, show in ((names, _Cell.reaching), (names, _Cell.fraction)):
        table = _table(status, cells, heads, show)
        if console.measure(table, options=unbounded).maximum <= console.width:
            return table
    table = _table(status, cells, numbers, _Cell.fraction)
    if console.measure(table, options=unbounded).maximum > console.width:
        table = _table(status, cells, numbers, _Cell.bar)
    return Group(table, legend)


def _table(
    status: SweepStatus,
    cells: dict[tuple[str, str], _Cell],
    heads: list[str],
    show: Callable[[_Cell], str],
) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("workload", no_wrap=True)
    for head in heads:
        table.add_column(Text(printable(head)), justify="right", no_wrap=True)
    table.add_column("all", justify="right", no_wrap=True)
    for workload in status.experiment.workloads:
        row = [cells.get((name, workload), _Cell()) for name in status.experiment.submissions]
        total = cells.get(("", workload), _Cell())
        texts = [Text(show(cell), style=cell.style) for cell in row]
        table.add_row(Text(printable(workload)), *texts, Text(total.fraction(), style=total.style))
    return table
