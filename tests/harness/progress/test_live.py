"""The progress of a sweep, in a terminal of any width and in a log."""

import io
import time
from contextlib import nullcontext

import pytest
from rich.console import Console
from rich.text import Text

from harness.progress import live
from harness.progress.board import describe_seconds, draw
from harness.progress.live import PlainProgress, describe_left, watch
from harness.progress.status import read_status
from harness.sweep import ledger
from harness.sweep.events import Pruned
from harness.sweep.run import run_sweep
from harness.system import timers
from scoring import rulesets
from scoring.records import Failure, Status, TrialResult
from scoring.tree import LEDGER_FILE
from tests.fixtures.sweeps import Script, make_row, plan_toys

WHERE = {"host": "h", "pid": 1}
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


def shown(console):
    """Returns everything written so far, without colours."""
    return Text.from_ansi(console.file.getvalue()).plain


def drawn(out, width=120):
    """Returns the lines of a tree's board."""
    console = Console(file=io.StringIO(), width=width)
    console.print(draw(read_status(out), console))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def ends(result):
    def act(driver, spec):
        driver.started(spec, WHERE)
        driver.ended(spec, result)

    return act


def runs(driver, spec):
    driver.started(spec, WHERE)
    driver.measured(spec, make_row(30, loss=1.5))


def test_the_number_of_trials_to_run_is_one_line():
    experiment = plan_toys("a", "b", studies=2)
    specs = list(experiment.specs())
    assert describe_left(experiment, specs) == "Trials: 4 planned, 4 to run."
    assert describe_left(experiment, specs[:1]) == "Trials: 4 planned, 3 done already, 1 to run."
    assert describe_left(experiment, []) == "All trials (4) are done already: nothing to run."


def test_a_log_has_a_line_for_every_trial(log, tmp_path):
    experiment = plan_toys("a", "b[/x]")
    first, second = experiment.specs()
    with watch(log) as callback:
        callback.on_sweep_start(experiment, tmp_path, [first, second])
        callback.on_trial_start(first)
        callback.on_evaluation(first, make_row(10))
        callback.on_trial_end(first, REACHED)
        callback.on_trial_end(second, FAILED)
    assert shown(log).splitlines() == [
        "Trials: 2 planned, 2 to run.",
        "[1/2] a/study_0/toy/trial_1: reached at step 20, 20.00 s: "
        "validation/loss 0.5 (target <= 1)",
        "[2/2] b[/x]/study_0/toy/trial_1: failed (submission_error: ValueError: no [/x] tag) "
        "at step 0, 0.00 s: no evaluation",
    ]


def test_a_single_trial_has_a_line_for_every_evaluation(log):
    (spec,) = plan_toys("a").specs()
    with nullcontext(PlainProgress(log, rows=True)) as callback:
        callback.on_evaluation(spec, make_row(1000, loss=2.25))
    assert shown(log).splitlines() == [
        "step    1,000    1000.00 s  validation/loss 2.25 (target <= 1)"
    ]


def test_a_log_without_lines_for_long_gets_a_summary(log, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "SUMMARY_SECONDS", 0.02)
    summary = "1 of 2 trials done: 1 reached, 1 running; 0.014 CPU trial hours spent"

    def silent(driver, spec):
        runs(driver, spec)
        give_up = time.monotonic() + 60
        while summary not in shown(log) and time.monotonic() < give_up:
            time.sleep(0.01)

    with watch(log) as callback:
        run_sweep(plan_toys("a", "b"), tmp_path, Script(ends(REACHED), silent), callback)
    assert summary in shown(log)


def test_a_log_with_recent_lines_gets_no_summary(log, tmp_path):
    with watch(log) as callback:
        run_sweep(plan_toys("a", "b"), tmp_path, Script(ends(REACHED), runs), callback)
        callback.print_summary_if_quiet()
    assert "trials done" not in shown(log)


def test_a_board_shows_done_and_running_trials_and_the_time_left(tmp_path, monkeypatch):
    monkeypatch.setattr(timers, "time", lambda: 1000.0)
    took = TrialResult(status=Status.REACHED, submission_seconds=36.0, total_seconds=40.0)
    seen = []

    def look(driver, spec):
        runs(driver, spec)
        seen[:] = drawn(tmp_path)

    experiment = plan_toys("a", "b[/x]", studies=2)
    acts = Script(ends(took), ends(took), runs, look)
    run_sweep(experiment, tmp_path, acts, PlainProgress(Console(file=io.StringIO())))
    driver = read_status(tmp_path).driver
    assert seen[:3] == [
        "2 of 4 trials done: 2 reached, 2 running",
        # both have run for 60 s, longer than any before, and are at second 30 of their 150 s
        "0.037 CPU trial hours spent on the submission clock, about 2 min to go",
        f"The driver (process {driver.pid} on {driver.host}) has been running for 0 s.",
    ]
    assert [line.split() for line in seen[3:5]] == [
        [name, "step", "30", "30/150", "s", "loss", "1.5", "(target", "<=", "1)"]
        for name in ("a/study_1/toy/trial_1", "b[/x]/study_1/toy/trial_1")
    ]
    table = [line.split() for line in seen[6:]]
    assert table[0] == ["workload", "a", "b[/x]", "all"]
    assert table[2] == ["toy", *["1/2", "1", "reached"] * 2, "2/4"]


def test_the_number_of_listed_running_trials_is_limited(tmp_path):
    names = [f"s{n}" for n in range(14)]
    seen = []

    def look(driver, spec):
        runs(driver, spec)
        seen[:] = drawn(tmp_path)

    acts = Script(*[runs] * 13, look)
    run_sweep(plan_toys(*names), tmp_path, acts, PlainProgress(Console(file=io.StringIO())))
    assert sum("/study_0/toy/trial_1" in line for line in seen) == 12
    assert "and 2 more" in seen


@pytest.mark.parametrize("width", [40, 60, 200])
def test_names_of_running_trials_are_never_broken(tmp_path, width):
    name, seen = "a_submission_with_a_rather_long_name", []

    def look(driver, spec):
        runs(driver, spec)
        seen[:] = drawn(tmp_path, width)

    acts = Script(runs, look)
    plan = plan_toys(name, "b")
    run_sweep(plan, tmp_path, acts, PlainProgress(Console(file=io.StringIO())))
    words = {word for line in seen for word in line.split()}
    if len(name) + len("/study_0/toy/trial_1") <= width:
        assert f"{name}/study_0/toy/trial_1" in words
    assert any("step 30" in line for line in seen)


def test_the_savings_of_pruning_are_an_upper_bound_in_gpu_hours(tmp_path):
    experiment = plan_toys("a", "b", gpus_per_trial=1)
    pruned = TrialResult(status=Status.PRUNED, submission_seconds=60.0)
    budget = next(experiment.specs()).budget_seconds
    quiet = PlainProgress(Console(file=io.StringIO()))
    run_sweep(experiment, tmp_path, Script(ends(REACHED), ends(pruned)), quiet)
    assert drawn(tmp_path)[1] == (
        f"{80 / 3600:.3f} GPU hours spent on the submission clock, "
        f"up to {(budget - 60) / 3600:.3f} saved by pruning"
    )


def test_a_ruleset_by_steps_has_steps_instead_of_seconds(tmp_path, log):
    rules = plan_toys("a").workloads["toy"].model_copy(update={"eval_period_steps": 10})
    ruleset = rulesets.load("track3")
    experiment = plan_toys("a", "b", workloads={"toy": rules}, ruleset=ruleset)
    seen = []

    def look(driver, spec):
        runs(driver, spec)
        seen[:] = drawn(tmp_path)

    run_sweep(experiment, tmp_path, Script(ends(REACHED), look), PlainProgress(log, rows=True))
    assert seen[1].startswith("50 steps made")
    assert seen[3].split()[:5] == ["b/study_0/toy/trial_1", "step", "30", "30/100", "steps"]
    lines = shown(log).splitlines()
    assert lines[1].endswith("reached at step 20: validation/loss 0.5 (target <= 1)")
    assert "step       30  validation/loss 1.5 (target <= 1)" in lines


BIG = [f"submission_of_someone_{n}" for n in range(12)]


@pytest.mark.parametrize(
    ("width", "numbered", "cell"),
    [(80, True, "·"), (120, True, "0/15"), (400, False, "0/15")],
)
def test_sixteen_workloads_by_twelve_submissions_fit_any_terminal(tmp_path, width, numbered, cell):
    workload = plan_toys("a").workloads["toy"]
    names = [f"workload_{n}_of_a_long_name_that_wraps" for n in range(16)]
    experiment = plan_toys(*BIG, studies=3, trials=5, workloads=dict.fromkeys(names, workload))
    experiment.write(tmp_path)
    lines = drawn(tmp_path, width)
    assert max(map(len, lines)) <= width
    (head,) = (line.split() for line in lines if line.startswith(" workload  "))
    assert head == ["workload", *(map(str, range(1, 13)) if numbered else BIG), "all"]
    assert sum(line.split()[1:13] == [cell] * 12 for line in lines) == 16
    assert numbered == any(f"12 {BIG[-1]}" in line for line in lines)


def test_a_bar_of_one_character_shows_none_some_or_all(tmp_path):
    experiment = plan_toys(*BIG, studies=2)
    half = [spec for spec in experiment.specs() if spec.study == 0]
    book = ledger.Ledger(tmp_path)
    experiment.write(tmp_path)
    for spec in [*half[1:], experiment.spec(BIG[1], "toy", 1, 1)]:
        book.append(Pruned(trial=spec.key, attempt=0))
    (row,) = (line.split() for line in drawn(tmp_path, 60) if line.startswith(" toy"))
    assert row == ["toy", "·", "█", *"▄" * 10, "12/24"]


def test_the_live_board_follows_the_ledger_and_reports_failures_at_once(terminal, tmp_path):
    reported = []

    def fail(driver, spec):
        ends(FAILED)(driver, spec)
        reported.append("failed (submission_error: ValueError: no [/x]" in shown(terminal))

    with watch(terminal) as callback:
        run_sweep(plan_toys("a", "b"), tmp_path, Script(fail, ends(REACHED)), callback)
    assert reported == [True]
    assert "timing the baseline's step" in terminal.file.getvalue()
    last = shown(terminal).rpartition("trials done")
    assert last[0].endswith("2 of 2 ")
    assert last[2].startswith(": 1 reached, 1 failed")


def test_a_second_plan_starts_a_new_board(terminal, tmp_path):
    with watch(terminal) as callback:
        for folder, names in (("search", "abc"), ("seeds", "d")):
            acts = Script(*[ends(REACHED)] * len(names))
            run_sweep(plan_toys(*names), tmp_path / folder, acts, callback)
    assert shown(terminal).rpartition(" trials done")[0].endswith("1 of 1")
    assert "Trials: 3 planned, 3 to run." in shown(terminal)


def test_a_board_that_cannot_be_read_does_not_affect_the_sweep(terminal, tmp_path):
    def vanish(driver, spec):
        ends(REACHED)(driver, spec)
        path = tmp_path / LEDGER_FILE
        path.rename(tmp_path / "elsewhere")
        path.mkdir()

    with watch(terminal) as callback:
        summary = run_sweep(plan_toys("a"), tmp_path, Script(vanish), callback)
    assert summary.by_status == {Status.REACHED: 1}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"), (99, "99 s"), (101, "2 min"), (3570, "1 h 00 min"), (7500, "2 h 05 min"),
        (200_000, "2 d 8 h"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_in_suitable_units(seconds, words):
    assert describe_seconds(seconds) == words
