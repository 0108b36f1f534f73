"""What an onlooker sees of a sweep, in a terminal and in a log."""

import io
from contextlib import nullcontext

import pytest
from rich.console import Console
from rich.text import Text

from harness.progress import PlainProgress, describe_left, watch
from scoring.records import Failure, Status, TrialResult
from tests.fixtures.sweeps import make_row, plan_toys

REACHED = TrialResult(
    status=Status.REACHED, rows=[make_row(20, loss=0.5)], global_step=20, submission_seconds=20.0
)
FAILED = TrialResult(
    status=Status.FAILED, failure=Failure.SUBMISSION_ERROR, message="ValueError: no [/x] tag"
)


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=120)


@pytest.fixture
def log():
    return Console(file=io.StringIO(), soft_wrap=True)


@pytest.fixture
def time(monkeypatch):
    """The seconds on the clock: a list of one number, for the test to set."""
    now = [0.0]
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: now[0])
    return now


def shown(console):
    """Everything written so far, colours left out."""
    return Text.from_ansi(console.file.getvalue()).plain


def last_table(console):
    """The table as it was drawn last."""
    return shown(console).rpartition("┏")[2]


def test_what_there_is_to_do_is_one_line():
    experiment = plan_toys("a", "b", studies=2)
    specs = list(experiment.specs())
    assert describe_left(experiment, specs) == "Trials: 4 planned, 4 to run."
    assert describe_left(experiment, specs[:1]) == "Trials: 4 planned, 3 done already, 1 to run."
    assert describe_left(experiment, []) == "All trials (4) are done already: nothing to run."


def test_a_log_has_a_line_for_every_trial(log):
    experiment = plan_toys("a", "b[/x]")
    first, second = experiment.specs()
    with watch(log) as watcher:
        watcher.planned(experiment, [first, second])
        watcher.started(first)
        watcher.measured(first, make_row(10))
        watcher.ended(first, REACHED)
        watcher.ended(second, FAILED)
    assert shown(log).splitlines() == [
        "Trials: 2 planned, 2 to run.",
        "[1/2] a/study_0/toy/trial_1: reached at step 20, 20.00 s: "
        "validation/loss 0.5 (target <= 1)",
        "[2/2] b[/x]/study_0/toy/trial_1: failed (submission_error: ValueError: no [/x] tag) "
        "at step 0, 0.00 s: no evaluation",
    ]


def test_a_single_trial_has_a_line_for_every_evaluation(log):
    (spec,) = plan_toys("a").specs()
    with nullcontext(PlainProgress(log, rows=True)) as watcher:
        watcher.measured(spec, make_row(1000, loss=2.25))
    assert shown(log).splitlines() == [
        "step    1,000    1000.00 s  validation/loss 2.25 (target <= 1)"
    ]


def test_a_table_shows_what_is_done_what_runs_and_how_long_it_takes(terminal, time):
    experiment = plan_toys("a", "b[/x]", studies=2)
    _, second, third, fourth = experiment.specs()
    with watch(terminal) as watcher:
        watcher.planned(experiment, [second, third, fourth])
        for spec in (second, third):
            watcher.started(spec)
        watcher.measured(third, make_row(30, loss=1.5))
        time[0] = 8.0
        watcher.ended(second, REACHED)
        watcher.ended(fourth, REACHED)
    assert "timing the baseline's step" in terminal.file.getvalue()
    lines = last_table(terminal).splitlines()
    cells = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["a", "1/2"], ["b[/x]", "2/2  2 reached"],
    ]  # fmt: skip
    (running,) = [line.split() for line in lines if line.startswith("running")]
    assert running[1:4] == ["a/study_1/toy/trial_1", "30.0", "s"]
    assert "validation/loss 1.5 (target <= 1)" in " ".join(running)
    assert lines[-1] == "2 reached, 1 left, 8 s elapsed, about 4 s to go"


def test_a_failure_is_told_at_once_and_an_interrupted_trial_is_not_done(terminal):
    experiment = plan_toys("a", "b")
    first, second = experiment.specs()
    with watch(terminal) as watcher:
        watcher.planned(experiment, [first, second])
        for spec in (first, second):
            watcher.started(spec)
        watcher.ended(first, FAILED)
        assert "a/study_0/toy/trial_1: failed (submission_error: ValueError: no [/x]" in shown(
            terminal
        )
        watcher.ended(second, TrialResult(status=Status.INTERRUPTED))
    table = last_table(terminal)
    assert "1/1" in table.split("│ b")[0]
    assert "0/1" in table.split("│ b")[1]
    assert "1 failed, 1 interrupted, 1 left" in table
    assert "running" not in table


def test_a_second_plan_begins_a_new_table(terminal):
    experiment = plan_toys("a")
    (spec,) = experiment.specs()
    with watch(terminal) as watcher:
        for left in ([spec], []):
            watcher.planned(experiment, left)
            if left:
                watcher.started(spec)
                watcher.ended(spec, REACHED)
    table = last_table(terminal)
    assert "1/1 " in table
    assert "reached" not in table
    assert shown(terminal).count("All trials (1) are done already") == 1
