"""Sweeps that add studies until results decide: what runs, what is recorded, and resuming."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import workloads
from harness.progress.board import describe_trials
from harness.progress.status import read_status
from harness.sweep import ledger
from harness.sweep.changes import extend
from harness.sweep.options import SweepOptions
from harness.sweep.plan import PlanError
from harness.sweep.request import Request, plan
from harness.sweep.restore import last_options, remaining
from harness.sweep.run import run_sweep
from scoring import rulesets
from scoring.experiment import Experiment
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import (
    Decide,
    Failure,
    Order,
    Pruning,
    RunOptions,
    Status,
    TrialResult,
    UserError,
)
from scoring.tree import trial_folders
from tests.fixtures.sweeps import Quiet, make_row, plan_toys

MOST = 8
AUTO = SweepOptions(decide=Decide.ALL, confidence=0.9, max_studies=MOST)
NEVER = float("inf")


def seconds(name, workload, study):
    """c is far behind; a and b differ on one workload, and tie on the others."""
    noise = (study * 7 + len(workload) * 3) % 5
    if name == "c":
        return NEVER if workload == "x" else 60.0 + noise
    return 20.0 + noise + (4.0 if (name, workload) == ("b", "v") else 0.0)


class Trials:
    """Simulates trials that meet their target after `seconds`; one in `fails` fails instead.

    Args:
        until: The number of trials after which the process is killed.
    """

    def __init__(self, times=seconds, fails=(), until=10_000):
        self.times, self.fails, self.until, self.ran = times, fails, until, []

    def run(self, specs, driver):
        waiting = list(specs)
        while (spec := driver.next(waiting, wait=False)) is not None:
            if len(self.ran) == self.until:
                os.kill(os.getpid(), signal.SIGKILL)
            self.ran.append(spec.key)
            driver.started(spec, {"host": "h", "pid": 1})
            driver.ended(spec, self.result(spec, driver))

    def result(self, spec, driver):
        time = self.times(spec.submission, spec.workload, spec.study)
        if spec.submission in self.fails:
            return TrialResult(
                status=Status.FAILED, failure=Failure.SUBMISSION_ERROR, message="no", traceback="",
                submission_seconds=1.0,
            )  # fmt: skip
        if time == NEVER:
            return TrialResult(status=Status.OUT_OF_TIME, submission_seconds=100.0)
        row = make_row(int(time), loss=0.5)
        driver.measured(spec, row)
        return TrialResult(status=Status.REACHED, rows=[row], submission_seconds=time)


def toys(names="abc", on="vwx", first=2, most=MOST, **changes):
    experiment = plan_toys(*names, studies=most, **changes)
    (rules,) = experiment.workloads.values()
    counts = {name: dict.fromkeys(on, first) for name in names}
    return experiment.model_copy(update={"workloads": dict.fromkeys(on, rules), "counts": counts})


class Messages(Quiet):
    def __init__(self):
        super().__init__()
        self.lines = []

    def on_message(self, spec, message):
        self.lines.append(message)


def sweep(out, experiment=None, options=AUTO, executor=None):
    """Runs a sweep, or what is left of it; returns its executor and messages."""
    executor, callback = executor or Trials(), Messages()
    run_sweep(experiment or Experiment.read(out), out, executor, callback, options)
    return executor, callback.lines


def chosen(out):
    """What was decided at each look, without repetitions."""
    events = [event for event in ledger.read(out) if event["event"] == "studies_chosen"]
    return list({str(e["added"]): (e["decisions"], e["added"]) for e in events}.values())


def test_studies_are_added_only_where_the_order_is_undecided(tmp_path):
    executor, lines = sweep(tmp_path, toys())
    experiment = Experiment.read(tmp_path)
    assert max(experiment.counts["c"].values()) <= 3  # it is behind everywhere
    assert experiment.counts["a"] == experiment.counts["b"]
    assert experiment.counts["a"]["v"] > 2
    assert experiment.counts["a"]["w"] == experiment.counts["a"]["x"] == 2  # they tie there
    assert len(executor.ran) == len(list(trial_folders(tmp_path))) == len(list(experiment.specs()))
    assert lines[0].startswith("adds study 2 of a, b, c on v; not decided yet: a and b, a and c")
    assert lines[-2].endswith("of a, b on v; not decided yet: a and b")
    assert "a is faster than b" in lines[-1]
    assert "not decided" not in lines[-1]
    decisions, added = chosen(tmp_path)[-1]
    assert added == []
    assert {d["faster"] for d in decisions} == {"a", "b"}
    assert sweep(tmp_path)[0].ran == []  # nothing is left


def test_the_leaderboard_scores_each_by_its_own_studies_and_says_so(tmp_path):
    sweep(tmp_path, toys())
    results = read([tmp_path])
    board = make_leaderboard(results, resamples=200)
    assert not board.warnings
    assert any("--studies auto chose the number of studies, 2 to" in r for r in board.remarks)
    cells = {standing.name: standing.cells for standing in board.standings}
    count = Experiment.read(tmp_path).counts["c"]["v"]
    assert cells["c"]["v"].studies == count < MOST
    assert cells["c"]["v"].seconds == np.median([seconds("c", "v", k) for k in range(count)])
    assert cells["a"]["v"].studies == Experiment.read(tmp_path).counts["a"]["v"]
    assert [s.name for s in board.standings] == ["a", "b", "c"]
    assert {s.name: s.trials["missing"] for s in board.standings} == {"a": 0, "b": 0, "c": 0}
    assert results.missing == {}


def kill_after(out, trials):
    """Runs a sweep in another process, which kills itself after some trials."""
    code = (
        "from tests.harness.sweep.test_studies import *\n"
        f"sweep(Path({str(out)!r}), toys(), executor=Trials(until={trials}))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("trials", [5, 19])
def test_a_killed_sweep_resumes_and_decides_the_same(tmp_path, trials):
    sweep(tmp_path / "whole", toys())
    kill_after(tmp_path / "killed", trials)
    sweep(tmp_path / "killed")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert Experiment.read(killed).counts == Experiment.read(whole).counts
    assert chosen(killed) == chosen(whole)
    assert last_options(killed) == AUTO


def test_a_resumed_sweep_whose_plan_was_not_written_yet_decides_the_same(tmp_path, monkeypatch):
    """The ledger has the decision, but the driver ended before it changed the plan."""
    sweep(tmp_path / "whole", toys())
    write, calls = Experiment.write, []

    def first_only(self, out):
        calls.append(self)
        if len(calls) > 1:
            raise KeyError("power cut")
        write(self, out)

    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "write", first_only)
        with pytest.raises(KeyError):
            sweep(tmp_path / "cut", toys())
    sweep(tmp_path / "cut")
    assert Experiment.read(tmp_path / "cut").counts == Experiment.read(tmp_path / "whole").counts
    assert chosen(tmp_path / "cut") == chosen(tmp_path / "whole")


def test_status_in_another_process_counts_the_added_studies(tmp_path):
    status = None

    class Watched(Trials):
        def run(self, specs, driver):
            nonlocal status
            status = status or read_status(tmp_path)
            super().run(specs, driver)

    sweep(tmp_path, toys(), executor=Watched())
    status.refresh()
    assert status.counts == read_status(tmp_path).counts
    assert status.counts["not started"] == 0
    assert len(status.trials) == len(list(Experiment.read(tmp_path).specs()))


def test_status_says_that_more_trials_may_be_added(tmp_path):
    sweep(tmp_path, toys("ab", "v"))
    line = describe_trials(read_status(tmp_path))
    assert f"--studies auto may add more, up to {2 * MOST}" in line
    sweep(tmp_path / "fixed", plan_toys("a", "b"))
    assert "auto" not in describe_trials(read_status(tmp_path / "fixed"))


def test_one_that_fails_in_every_trial_is_slower(tmp_path):
    _, lines = sweep(tmp_path, toys("ab", "vwx"), executor=Trials(fails=("a",)))
    assert "b is faster than a" in lines[-1]
    assert max(Experiment.read(tmp_path).counts["a"].values()) <= 3


def test_ties_end_it_undecided(tmp_path):
    same = Trials(times=lambda *_: 20.0)
    _, lines = sweep(tmp_path, toys("ab", "vw"), executor=same)
    assert lines == [
        "decided at an error probability of 0.1: nothing. not decided: a and b (p = 1): more "
        "studies cannot decide: they tie in every study"
    ]
    assert len(same.ran) == 8


def noisy(name, workload, study):
    return 20.0 + ((study * 5 + (name == "b") * 3) % 7)


@pytest.mark.parametrize("on", ["v", "vw"])
def test_the_maximum_ends_it_undecided(tmp_path, on):
    _, lines = sweep(tmp_path, toys("ab", on), executor=Trials(times=noisy))
    assert f"not decided: a and b (p = 1): --max-studies {MOST} is reached" in lines[-1]
    assert Experiment.read(tmp_path).counts["a"] == dict.fromkeys(on, MOST)


def test_a_larger_maximum_continues(tmp_path):
    options = SweepOptions(decide=Decide.ALL, max_studies=3)
    sweep(tmp_path, toys("ab", "v"), options, Trials(times=noisy))
    assert Experiment.read(tmp_path).counts["a"] == {"v": 3}
    options = SweepOptions(decide=Decide.ALL, max_studies=5)
    executor, _ = sweep(tmp_path, None, options, Trials(times=noisy))
    assert Experiment.read(tmp_path).counts["a"] == {"v": 5}
    assert len(executor.ran) == 4


def test_one_workload_and_the_first_place_alone(tmp_path):
    top = SweepOptions(decide=Decide.TOP, confidence=0.9, max_studies=MOST)
    times = {"a": 10.0, "b": 30.0, "c": 30.5}
    spread = Trials(times=lambda name, _, study: times[name] + 0.1 * (study * 3 % 4))
    _, lines = sweep(tmp_path, toys("abc", "v"), top, spread)
    assert "a is faster than b" in lines[-1]
    assert "not decided" not in lines[-1]
    counts = Experiment.read(tmp_path).counts
    assert counts["a"]["v"] < MOST


def test_with_latency_a_study_is_added_on_every_workload(tmp_path):
    options = SweepOptions(decide=Decide.ALL, order=Order.LATENCY, max_studies=MOST)
    sweep(tmp_path, toys("ab", "vw"), options, Trials(times=noisy))
    _, added = chosen(tmp_path)[0]
    assert added == [["a", "v", 2], ["a", "w", 2], ["b", "v", 2], ["b", "w", 2]]


def test_nothing_is_decided_while_a_trial_will_run_again(tmp_path):
    class Lost(Trials):
        def result(self, spec, driver):
            if (spec.submission, spec.study) == ("a", 0):
                return TrialResult(status=Status.FAILED, failure=Failure.WORKER_LOST, traceback="")
            return super().result(spec, driver)

    experiment = toys("ab", "vw")
    sweep(tmp_path, experiment, executor=Lost())
    assert chosen(tmp_path) == []
    executor, _ = sweep(tmp_path)
    assert executor.ran[:2] == ["a/study_0/v/trial_1", "a/study_0/w/trial_1"]
    assert chosen(tmp_path)


def test_a_fixed_number_of_studies_never_looks(tmp_path):
    sweep(tmp_path, toys("ab", "v"), SweepOptions(pruning=Pruning.OFF))
    assert chosen(tmp_path) == []


DEMO = rulesets.load("demo")


def request(**changes):
    asked = Request(
        submissions=["nadamw", "adamw"], workloads=["digits"], ruleset=DEMO,
        options=RunOptions(clock="steps"), **changes,
    )  # fmt: skip
    return plan(asked, workloads.get)


def planned(out, **changes):
    experiment = request(**changes).complete(out, None)
    experiment.write(out)
    return experiment


def test_a_plan_begins_with_two_studies_and_has_points_for_all(tmp_path):
    experiment = planned(tmp_path, max_studies=7)
    assert experiment.counts == {name: {"digits": 2} for name in ("nadamw", "adamw")}
    assert len(list(experiment.specs())) == 2 * 2 * DEMO.trials
    fixed = request(studies=7).preview(tmp_path / "none")
    for name, submission in experiment.submissions.items():
        assert len(submission.points) == 7
        assert submission.points == fixed.submissions[name].points
    assert request(max_studies=7, studies=4).first == 4
    assert request(max_studies=1).first == 1


def test_extending_keeps_studies_that_were_added(tmp_path):
    old = planned(tmp_path, max_studies=7)
    added = {"nadamw": {"digits": 5}, "adamw": {"digits": 3}}
    old = old.model_copy(update={"counts": added})
    more = request(max_studies=9).preview(tmp_path / "none")
    assert extend(old, more, tmp_path).counts == added
    assert extend(old, more, tmp_path).studies == 9
    fixed = request(studies=4).preview(tmp_path / "none")
    both = extend(old, fixed, tmp_path)
    assert both.counts == {"nadamw": {"digits": 5}, "adamw": {"digits": 4}}
    assert extend(fixed, more, tmp_path).counts == {name: {"digits": 4} for name in added}
    assert extend(fixed, fixed, tmp_path).counts is None


def test_wrong_options_are_refused():
    with pytest.raises(UserError, match="--confidence 1: must be above 0 and below 1"):
        SweepOptions(confidence=1.0)
    asked = Request(
        submissions=["nadamw"], workloads=["digits"], options=RunOptions(),
        ruleset=rulesets.load("track3"), max_studies=9,
    )  # fmt: skip
    with pytest.raises(PlanError, match="trials have no time to a target"):
        plan(asked, workloads.get)


def test_options_are_recorded(tmp_path):
    options = SweepOptions(decide=Decide.TOP, confidence=0.8, max_studies=3)
    sweep(tmp_path, toys("ab", "v"), options)
    assert last_options(tmp_path) == options
    assert remaining(tmp_path, Experiment.read(tmp_path)) == []
