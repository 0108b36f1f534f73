"""Hours of sweeps, computed by hand."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import workloads
from harness.commands.estimate import Record, RecordedSteps, estimate, makespan
from harness.sweep.run import run_sweep
from scoring.experiment import PlannedWorkload
from scoring.records import Goal, Status, TrialResult, UserError
from scoring.rulesets import Ruleset
from tests.fixtures.sweeps import Quiet, Script, make_row, plan_toys

GOAL = Goal(metric="loss", direction="min", target=1.0)
BUDGET = 150.0  # of plan_toys: 100 s, times 1.5 for self-tuning


def record(submission="a", seconds=30.0, status="reached", total=math.nan, **changes):
    fields = {
        "submission": submission, "workload": "toy", "goal": GOAL, "status": status,
        "seconds": seconds, "evaluated_seconds": seconds, "total_seconds": total,
    }  # fmt: skip
    return Record(**{**fields, **changes})


def seconds_of(records, experiment=None, **options):
    """Seconds without pruning and with, by submission, of a plan of two submissions."""
    experiment = experiment or plan_toys("a", "b", studies=2)
    found = estimate(experiment, list(experiment.specs()), records, slots=1, **options)
    return {cell.submission: cell.hours * 3600 / cell.trials for cell in found.cells}


def test_without_records_every_trial_takes_its_budget():
    experiment = plan_toys("a", "b", studies=2)
    found = estimate(experiment, list(experiment.specs()), [], slots=3)
    assert [(c.workload, c.submission, c.trials, c.source) for c in found.cells] == [
        ("toy", "a", 2, "complete budgets"), ("toy", "b", 2, "complete budgets"),
    ]  # fmt: skip
    assert found.hours.trials == pytest.approx(4 * BUDGET / 3600)
    assert found.hours.wall == pytest.approx(2 * BUDGET / 3600)  # four on three slots: two rounds
    assert found.hours.gpus == 0
    assert (found.pruned, found.cells[0].pruned_hours) == (None, None)
    assert found.without_evaluation == ["toy"]


def test_a_trial_takes_the_mean_of_its_own_submission_else_of_the_others():
    times = seconds_of([record(seconds=10.0), record(seconds=20.0)])
    assert times == pytest.approx({"a": 15.0, "b": 15.0})
    times = seconds_of([record(seconds=10.0), record("b", 40.0), record("c", 70.0)])
    assert times == pytest.approx({"a": 10.0, "b": 40.0})


def test_interrupted_trials_and_those_with_other_goals_are_ignored():
    useless = [
        record(status="failed"), record(status="interrupted"), record(status="step_limit"),
        record(workload="other"), record(goal=replace(GOAL, target=2.0)),
    ]  # fmt: skip
    assert seconds_of(useless) == pytest.approx({"a": BUDGET, "b": BUDGET})


@pytest.mark.parametrize(
    ("status", "seconds", "expected"),
    [
        ("out_of_time", 30.0, BUDGET),  # of a smaller budget: it would have continued
        ("pruned", 30.0, BUDGET),
        ("diverged", 30.0, 30.0),
        ("training_complete", 30.0, 30.0),
        ("missed", 30.0, 30.0),
        ("reached", 1000.0, BUDGET),  # within a larger budget
    ],
)
def test_a_record_under_the_budget_of_the_plan(status, seconds, expected):
    assert seconds_of([record("a", seconds, status)])["a"] == pytest.approx(expected)


def test_records_of_a_slower_machine_are_scaled_by_the_baselines_step():
    rules = plan_toys("a").workloads["toy"].model_copy(update={"baseline_step_seconds": 0.01})
    plan = plan_toys("a", workloads={"toy": rules})
    assert seconds_of([record(step_seconds=0.03)], plan)["a"] == pytest.approx(10.0)
    assert seconds_of([record()], plan)["a"] == pytest.approx(30.0)


def test_hours_include_evaluation_if_records_have_its_time():
    records = [record(seconds=10.0, total=25.0), record("z", 30.0, total=35.0), record("z", 99.0)]
    assert seconds_of(records)["a"] == pytest.approx(10.0 * (25 + 35) / (10 + 30))
    experiment = plan_toys("a")
    found = estimate(experiment, list(experiment.specs()), records, slots=1)
    assert found.without_evaluation == []


def test_pruning_and_gpus():
    experiment = plan_toys("a", "b", gpus_per_trial=1)
    records = [record(seconds=20.0, total=40.0)]
    left = list(experiment.specs())
    found = estimate(experiment, left, records, 2, lambda spec, s: s / 4 if spec is left[1] else s)
    assert [cell.pruned_hours * 3600 for cell in found.cells] == pytest.approx([40.0, 10.0])
    assert found.pruned.trials * 3600 == pytest.approx(50.0)
    assert found.pruned.wall * 3600 == pytest.approx(40.0)
    assert (found.hours.gpus, found.pruned.gpus) == (found.hours.trials, found.pruned.trials)


@given(st.lists(st.floats(0, 1e6)), st.integers(1, 8))
def test_trials_in_slots_take_no_more_than_any_greedy_schedule_may(seconds, slots):
    found, even, longest = makespan(seconds, slots), sum(seconds) / slots, max(seconds, default=0.0)
    assert found >= max(even, longest) * (1 - 1e-12)
    assert found <= (even + longest) * (1 + 1e-12)


def test_slots_are_filled_in_the_order_of_the_trials():
    assert makespan([1, 1, 4], 2) == 5
    assert makespan([4, 1, 1], 2) == 4


def no_workload(name, data_dir, device):
    raise AssertionError("a workload was loaded")


def test_a_recorded_step_is_not_timed_and_none_can_be_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    executor = RecordedSteps(no_workload, {"toy": 0.25}, lambda *_: None)
    (spec,) = plan_toys("a", gpus_per_trial=1).specs()
    assert executor.time_baseline(spec) == {"": 0.25}
    other = replace(spec, workload="another")
    with pytest.raises(UserError, match="no GPU here"):
        executor.time_baseline(other)
    with pytest.raises(UserError, match="several processes"):
        executor.time_baseline(replace(other, gpus_per_trial=0, processes_per_trial=2))


def ended(status, seconds, met=False):
    """A trial that is evaluated at its end; everything takes twice as long as its clock."""

    def act(driver, spec):
        row = make_row(seconds)
        metrics = {spec.goal_column: spec.goal.target if met else math.nan}
        row = replace(row, metrics=metrics)
        driver.started(spec, {"host": "h", "pid": 1})
        driver.measured(spec, row)
        driver.ended(spec, TrialResult(status=status, rows=[row], submission_seconds=seconds))

    return act


def reach(seconds):
    return ended(Status.REACHED, seconds, met=True)


def reach_and_go_on(seconds, until):
    """A trial that reaches its target and continues, as with --until budget."""

    def act(driver, spec):
        metrics = {spec.goal_column: spec.goal.target}
        rows = [replace(make_row(s), metrics=metrics) for s in (seconds, until)]
        driver.started(spec, {"host": "h", "pid": 1})
        for row in rows:
            driver.measured(spec, row)
        result = TrialResult(status=Status.OUT_OF_TIME, rows=rows, submission_seconds=until)
        driver.ended(spec, result)

    return act


def estimated(chronograd, *arguments):
    code, out, err = chronograd("estimate", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


MNIST = ("--workload", "mnist", "--ruleset", "demo", "--studies", 1, "--slots", 2)


def test_a_sweep_without_records(chronograd):
    found = estimated(chronograd, "nadamw", "adamw", *MNIST)
    assert [cell["trials"] for cell in found["cells"]] == [2, 2]
    assert found["hours"] == pytest.approx(
        {"trials": 4 * 60 / 3600, "wall": 2 * 60 / 3600, "gpus": 0}
    )
    assert found["pruned"] is None
    assert any("cannot be estimated" in note and "38%" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("acts", "seconds", "saved"),
    [
        ((reach(10), reach(30)), (10 + 30) / 2, 20 / 40),  # side by side both stop at 10 s
        ((reach(10), ended(Status.PRUNED, 10)), (10 + 60) / 2, 50 / 70),  # or to its budget
        ((reach_and_go_on(10, until=50), reach(30)), (10 + 30) / 2, 20 / 40),
    ],
)
def test_a_sweep_with_records_and_what_their_replay_saves(
    chronograd, tmp_path, acts, seconds, saved
):
    mnist = workloads.get("mnist")
    rules = PlannedWorkload(
        goal=mnist.goal, test_goal=None, budget_seconds=60.0, eval_period_seconds=2.0,
        step_hint=100, baseline_step_seconds=None,
    )  # fmt: skip
    options = {"clock": "wall", "tuning": "external", "trials": 2, "workloads": {"mnist": rules}}
    experiment = plan_toys("adamw", **options)
    planned = experiment.submissions["adamw"].model_copy(update={"points": [[{}, {}]]})
    experiment = experiment.model_copy(update={"submissions": {"adamw": planned}})
    run_sweep(experiment, tmp_path / "earlier", Script(*acts), Quiet())
    found = estimated(chronograd, "nadamw", "adamw", *MNIST, "--records", "earlier")
    assert [cell["source"] for cell in found["cells"]] == [
        "2 recorded trials of other submissions", "2 recorded trials",
    ]  # fmt: skip
    whole = 4 * 2 * seconds  # doubled by evaluation
    assert found["hours"]["trials"] * 3600 == pytest.approx(whole)
    assert found["pruned"]["trials"] * 3600 == pytest.approx(whole * (1 - saved))
    assert found["without_evaluation"] == []
    text = chronograd("estimate", "nadamw", *MNIST, "--records", "earlier")[1]
    assert f"{saved:.1%} of the recorded hours" in text


class Part:
    """An executor that plays the trials named, and leaves the others."""

    def __init__(self, **acts):
        self.acts = acts

    def run(self, specs, driver):
        for spec in specs:
            if (act := self.acts.get(f"{spec.submission}{spec.study}")) is not None:
                act(driver, spec)


def test_what_is_left_of_a_sweep_runs_to_its_deadlines(chronograd, tmp_path):
    experiment = plan_toys("a", "b", studies=3, clock="wall")
    acts = {"a0": reach(10), "a1": reach(10), "a2": reach(10), "b0": ended("out_of_time", 150)}
    run_sweep(experiment, tmp_path / "mine", Part(**acts), Quiet())
    found = estimated(chronograd, "mine", "--slots", 1)
    (cell,) = found["cells"]
    assert (cell["submission"], cell["trials"]) == ("b", 2)
    assert cell["hours"] * 3600 == pytest.approx(2 * 2 * 150)
    assert cell["pruned_hours"] * 3600 == pytest.approx(2 * 2 * 40)  # r_max 4 times the fastest
    assert found["pruned"]["wall"] == pytest.approx(found["pruned"]["trials"])


def test_a_trial_that_was_pruned_runs_again_only_without_pruning(chronograd, tmp_path):
    experiment = plan_toys("a", "b", studies=3, clock="wall")
    acts = {"a0": reach(10), "a1": reach(10), "a2": reach(10), "b1": ended("pruned", 40)}
    run_sweep(experiment, tmp_path / "mine", Part(**acts), Quiet())
    (cell,) = estimated(chronograd, "mine")["cells"]
    assert cell["trials"] == 3
    assert cell["hours"] * 3600 == pytest.approx(3 * 2 * 150)
    assert cell["pruned_hours"] * 3600 == pytest.approx(2 * 2 * 40)


def test_a_variant_of_a_missed_workload_takes_nothing(chronograd, tmp_path):
    plan = plan_toys("a", clock="wall")
    held_out = {"scored": ["toy"], "held_out": {"held": "toy"}}
    ruleset = Ruleset(**{**plan.ruleset.model_dump(), **held_out})
    both = {"toy": plan.workloads["toy"], "held": plan.workloads["toy"]}
    plan = plan_toys("a", clock="wall", workloads=both, ruleset=ruleset)
    miss = Part(a0=lambda d, s: s.workload == "toy" and ended("out_of_time", 150)(d, s))
    run_sweep(plan, tmp_path / "mine", miss, Quiet())
    (cell,) = estimated(chronograd, "mine")["cells"]
    assert (cell["workload"], cell["hours"] * 3600) == ("held", pytest.approx(150))
    assert cell["pruned_hours"] == 0


def test_pruning_of_a_sweep_until_the_test_target_is_unknown(chronograd, tmp_path):
    experiment = plan_toys("a", studies=2, clock="wall", until="test")
    run_sweep(experiment, tmp_path / "mine", Part(a0=reach(10)), Quiet())
    found = estimated(chronograd, "mine")
    assert (found["cells"][0]["trials"], found["pruned"]) == (1, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clock": "steps"}, "ran on the step clock"),
        ({"clock": "wall", "gpus_per_trial": 2}, "ran on 2 GPUs per trial"),
        ({"clock": "wall", "processes_per_trial": 3}, "ran on the CPU in 3 processes per trial"),
    ],
)
def test_records_of_another_clock_or_hardware_are_refused(chronograd, tmp_path, changes, message):
    run_sweep(plan_toys("a", **changes), tmp_path / "other", Part(), Quiet())
    code, _, err = chronograd("estimate", "nadamw", *MNIST, "--records", "other")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["doctor", "nadamw"], "unexpected extra argument"),
        (["doctor", "--slots", "2"], "No such option"),
        (["estimate", "nadamw"], "needs either --suite or --workload"),
        (["estimate", "mine", "--trials", "2"], "--trials cannot be used with DIR"),
        (["estimate", "nadamw", "--address", "x"], "No such option"),
        (["doctor", "--estimate", "mine", "--suite", "mini"], "--suite cannot be used with DIR"),
    ],
)
def test_options_that_would_be_ignored_are_refused(chronograd, tmp_path, arguments, message):
    plan_toys("a").write(tmp_path / "mine")
    code, _, err = chronograd(*arguments)
    assert (code, message in " ".join(err.replace("│", "").split())) == (2, True), err
