"""Exact pruning of a running sweep: what stops, what is recorded, and that no score changes."""

from contextlib import closing

import pytest

import workloads
from harness.executors.cluster import Cluster
from harness.executors.local import LocalExecutor
from harness.progress.status import read_status
from harness.sweep import ledger
from harness.sweep.options import EVERY_TRIAL, SweepOptions
from harness.sweep.pruner import Pruner
from harness.sweep.restore import remaining
from harness.sweep.run import run_sweep
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import Failure, RecordError, RunOptions, Status, TrialResult
from scoring.speedup import speedups
from scoring.times import OFFICIAL
from scoring.tree import read_trial, trial_folder
from tests.fixtures.sweeps import Quiet, make_row, plan_toys


class Timetable:
    """Simulates trials that meet their target at a given second, or stop at their deadline."""

    def __init__(self, times, budget=100.0):
        self.times, self.budget, self.ran = times, budget, []

    def run(self, specs, driver):
        waiting = list(specs)
        while (spec := driver.next(waiting, wait=False)) is not None:
            self.ran.append(spec.key)
            driver.started(spec, {"host": "h", "pid": 1})
            time = self.times[spec.submission][spec.study][spec.trial - 1]
            deadline = driver.deadline(spec)
            if time <= deadline:
                driver.measured(spec, make_row(int(time), loss=0.5))
                result = TrialResult(
                    status=Status.REACHED, rows=[make_row(int(time), loss=0.5)],
                    submission_seconds=time,
                )  # fmt: skip
            else:
                result = TrialResult(status=Status.PRUNED, submission_seconds=deadline + 1)
            driver.ended(spec, result)


def plan(**changes):
    return plan_toys("a", "b", tuning="external", studies=3, trials=2, **changes)


TIMES = {"a": [[10.0, 20.0], [11.0, 30.0], [12.0, 9.0]], "b": [[60.0, 90.0]] * 3}


def points(experiment):
    for submission in experiment.submissions.values():
        object.__setattr__(submission, "points", [[{}, {}]] * 3)
    return experiment


def sweep(out, pruning):
    experiment, executor = points(plan()), Timetable(TIMES)
    run_sweep(
        experiment, out, executor, Quiet(), options=SweepOptions() if pruning else EVERY_TRIAL
    )
    return experiment, executor


def test_scores_equal_those_of_the_complete_sweep(tmp_path):
    experiment, executor = sweep(tmp_path / "pruned", pruning=True)
    _, complete = sweep(tmp_path / "complete", pruning=False)
    boards = [make_leaderboard(read([tmp_path / name])) for name in ("pruned", "complete")]
    scores = [{s.name: s.score for s in board.standings} for board in boards]
    assert scores[0] == scores[1] == {"a": 1.0, "b": 0.0}
    assert len(complete.ran) == 12
    results = [read_trial(trial_folder(tmp_path / "pruned", s))[1] for s in experiment.specs()]
    pruned = [result for result in results if result.status is Status.PRUNED]
    assert len(pruned) > 4
    assert len(executor.ran) < 12  # some never started
    assert sum(r.submission_seconds for r in results) < 0.6 * sum(
        time for studies in TIMES.values() for study in studies for time in study
    )


def test_each_stop_is_recorded_with_the_trials_that_decide(tmp_path):
    experiment, _ = sweep(tmp_path, pruning=True)
    spec = experiment.spec("a", "toy", 0, 2)
    result = read_trial(trial_folder(tmp_path, spec))[1]
    assert (result.status, result.submission_seconds) == (Status.PRUNED, 11.0)
    assert result.proof == [
        {"submission": "a", "workload": "toy", "study": 0, "trial": 1, "met_at": 10.0}
    ]
    counts = read_status(tmp_path).counts
    assert counts == {
        "reached": 12 - counts["pruned"],
        "pruned": counts["pruned"],
        "not started": 0,
    }
    never = [e for e in ledger.read(tmp_path) if e["event"] == "pruned"]
    assert {event["trial"] for event in never} >= {"b/study_2/toy/trial_1"}


def test_a_pruned_tree_is_done_and_a_trial_with_a_false_proof_runs_again(tmp_path):
    experiment, _ = sweep(tmp_path, pruning=True)
    again = Timetable(TIMES)
    assert remaining(tmp_path, experiment, is_pruned=True) == []
    run_sweep(experiment, tmp_path, again, Quiet(), options=SweepOptions())
    assert again.ran == []
    path = trial_folder(tmp_path, experiment.spec("a", "toy", 0, 2)) / "trial.json"
    path.write_text(
        path.read_text().replace('"submission_seconds": 11.0', '"submission_seconds": 2.0')
    )
    with pytest.raises(
        RecordError, match=r"trial_2: was pruned at second 2.00, but .* second 10.00"
    ):
        make_leaderboard(read([tmp_path]))
    left = remaining(tmp_path, experiment, is_pruned=True)
    run_sweep(experiment, tmp_path, again, Quiet(), options=SweepOptions())
    assert again.ran == [spec.key for spec in left] == ["a/study_0/toy/trial_2"]
    make_leaderboard(read([tmp_path]))


def test_methods_that_need_every_trial_are_refused_by_name(tmp_path):
    sweep(tmp_path, pruning=True)
    results = read([tmp_path])
    with pytest.raises(RecordError, match="for --method official it matters up to its end"):
        make_leaderboard(results, OFFICIAL)
    with pytest.raises(RecordError, match="for --speedup it matters"):
        speedups(results, make_leaderboard(results).method, "a")


def test_pruned_trials_run_without_pruning(tmp_path):
    experiment, first = sweep(tmp_path, pruning=True)
    again = Timetable(TIMES)
    left = len(remaining(tmp_path, experiment))
    run_sweep(experiment, tmp_path, again, Quiet())
    pruned = 12 - sum(
        read_trial(trial_folder(tmp_path, s))[1].status is Status.REACHED
        for s in experiment.specs()
        if s.key in first.ran and s.key not in again.ran
    )
    assert len(again.ran) == pruned == left
    assert not [s for s in experiment.specs() if read_trial(trial_folder(tmp_path, s))[1].proof]


def test_an_interrupted_trial_has_no_influence(tmp_path):
    experiment = points(plan())
    pruner, spec = Pruner(experiment, tmp_path), experiment.spec("a", "toy", 0, 1)
    lost = {"status": Status.FAILED, "failure": Failure.WORKER_LOST}
    for interrupted in ({"status": Status.INTERRUPTED}, lost):
        pruner.learn(spec, TrialResult(**interrupted, submission_seconds=50.0))
    assert pruner._bounds.low.max() == 0
    pruner.learn(spec, TrialResult(status=Status.OUT_OF_TIME, submission_seconds=100.0))
    assert pruner._bounds.low.max() == float("inf")


@pytest.mark.ray
def test_on_a_cluster_trials_stop_while_they_run(tmp_path, address):
    """Two trials of a study on two slots: the slower one stops once the faster one is done."""
    from harness.sweep.request import Request, check
    from scoring import rulesets

    ruleset = tmp_path / "quick.toml"
    ruleset.write_text("studies = 1\ntrials = 2\nself_tuning_budget_factor = 1\nr_max = 4\n")
    request = Request(
        submissions=["nadamw"], workloads=["digits"], ruleset=rulesets.load(str(ruleset)),
        options=RunOptions(clock="steps"),
    )  # fmt: skip
    experiment = check(request, workloads.get).complete(tmp_path / "nothing there", None)
    with closing(Cluster(workloads.get, address)) as executor:
        run_sweep(experiment, tmp_path / "out", executor, Quiet(), options=SweepOptions())
    run_sweep(experiment, tmp_path / "undisturbed", LocalExecutor(workloads.get), Quiet())
    boards = [make_leaderboard(read([tmp_path / name])) for name in ("out", "undisturbed")]
    cells = [board.standings[0].cells["digits"].seconds for board in boards]
    assert cells[0] == cells[1]


def test_a_parked_trial_does_not_block_others(tmp_path, monkeypatch):
    parked = set()
    monkeypatch.setattr(Pruner, "is_parked", lambda self, spec: spec.submission in parked)

    class Executor:
        def run(self, specs, driver):
            waiting = list(specs)
            a = driver.next(waiting, wait=False)
            driver.started(a, {})
            assert driver.lost(a, Failure.WORKER_LOST, "gone", "")
            waiting.append(a)
            parked.add(a.submission)  # it was lost, and now waits for the results of others
            b = driver.next(waiting, wait=True)
            assert (a.submission, b.submission) == ("a", "b")
            assert driver.next(waiting, wait=True) is None
            assert driver.next(waiting, wait=False) is a

    run_sweep(plan_toys("a", "b"), tmp_path, Executor(), Quiet(), options=SweepOptions())
