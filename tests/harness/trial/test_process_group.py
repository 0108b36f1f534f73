"""Trials of several processes: their collectives, and the loss of one of them."""

import os
import signal
import threading
from contextlib import closing

import pytest

import workloads
from harness.executors.cluster import Cluster
from harness.executors.local import LocalExecutor
from harness.executors.team import TrialResources
from harness.sweep.run import run_sweep
from harness.trial.clock import WallClock
from harness.trial.loop import run_trial
from harness.trial.process_group import ProcessGroup
from scoring.records import Failure, Status
from scoring.tree import read_trial, trial_folder
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, ledger_rows, plan_faults
from tests.fixtures.toy import FakeTime, Rows, ScriptedWorkload, make_spec, make_submission
from tests.harness.sweep.test_attempts import events, plan

# ---- collectives of the loop, in threads ------------------------------------------------------


class Thread(ProcessGroup):
    """A rank in a thread: values are exchanged in a list, between two barriers."""

    size = 2

    def __init__(self, rank, table, barrier):
        self.rank, self._table, self._barrier = rank, table, barrier

    def _exchange(self, values):
        self._table[self.rank] = values
        self._barrier.wait(timeout=60)
        seen = list(self._table)
        self._barrier.wait(timeout=60)
        return seen

    def broadcast(self, *values):
        return self._exchange(values)[0]

    def all_reduce_max(self, *values):
        return tuple(map(max, *self._exchange(values)))

    def mean(self, value):
        return sum(self._exchange(value)) / self.size


def run_both(step_seconds, losses=((5.0,), (5.0,)), controls=None, **changes):
    """Runs a trial in two threads, each with its own time; returns the two results."""
    table, barrier, results = [None, None], threading.Barrier(2), [None, None]
    controls = controls or (Rows(), Rows())

    def train(rank):
        time = FakeTime()
        results[rank] = run_trial(
            make_spec(**changes), ScriptedWorkload(time, losses[rank]),
            make_submission(time, step_seconds[rank]), WallClock(now=time.now, cpu_now=time.now),
            controls[rank], Thread(rank, table, barrier),
        )  # fmt: skip

    threads = [threading.Thread(target=train, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def test_the_clock_is_the_slowest_ranks():
    results = run_both(step_seconds=(1.0, 2.0))
    for result in results:
        assert result.status is Status.OUT_OF_TIME
        assert [row.global_step for row in result.rows][:3] == [1, 11, 21]
        assert [row.submission_seconds for row in result.rows][:3] == [2.0, 22.0, 42.0]


def test_rank_0_decides_whether_the_goal_is_met():
    results = run_both((1.0, 1.0), losses=((5.0, 0.5), (5.0, 5.0)))
    assert [(r.status, r.global_step) for r in results] == [(Status.REACHED, 11)] * 2
    results = run_both((1.0, 1.0), losses=((5.0, 5.0), (0.5, 0.5)))
    assert [r.status for r in results] == [Status.OUT_OF_TIME] * 2


def test_rank_0s_deadline_is_everyones():
    results = run_both((1.0, 1.0), controls=(Rows(deadline=25.0), Rows()))
    assert [(r.status, r.global_step) for r in results] == [(Status.PRUNED, 26)] * 2


class Keeps(Rows):
    """A control with checkpoints of some steps."""

    def __init__(self, *steps):
        super().__init__()
        self.steps, self.asked = steps, []

    def restore(self, until, read):
        self.asked.append(until)
        fitting = [step for step in self.steps if step <= until]
        return {"state": {"step": max(fitting)}} if fitting else None


@pytest.mark.parametrize(
    ("mine", "other", "taken"),
    [((10, 20), (10, 20), 20), ((10, 20), (10,), 10), ((10, 20), (5, 15), None), ((10,), (), None)],
)
def test_ranks_resume_from_the_last_checkpoint_that_all_have(monkeypatch, mine, other, taken):
    restored = []
    monkeypatch.setattr(
        "harness.trial.loop._Trial._restore",
        lambda _, loaded: restored.append(loaded["state"]["step"]),
    )
    monkeypatch.setattr(Keeps, "resumed", lambda self, rows: None)
    run_both((1.0, 1.0), controls=(Keeps(*mine), Keeps(*other)), max_steps=1)
    assert restored == ([] if taken is None else [taken] * 2)


# ---- real processes ---------------------------------------------------------------------------


def result_of(out, experiment):
    (spec,) = experiment.specs()
    return read_trial(trial_folder(out, spec))[1]


def sweep(experiment, out, address, callback=None):
    with closing(Cluster(workloads.get, address, TrialResources(processes=2))) as executor:
        run_sweep(experiment, out, executor, callback or Quiet())
    return result_of(out, experiment)


@pytest.mark.ray
def test_two_processes_train_as_one_does(tmp_path, address):
    options = {"max_steps": 60, "processes_per_trial": 2}
    together = sweep(plan(tmp_path, "diabetes", **options), tmp_path / "two", address)
    experiment = plan(tmp_path, "diabetes", max_steps=60)
    run_sweep(experiment, tmp_path / "one", LocalExecutor(workloads.get), Quiet())
    alone = result_of(tmp_path / "one", experiment)
    assert len(together.rows) == len(alone.rows) > 2
    for two, one in zip(together.rows, alone.rows, strict=True):
        assert (two.global_step, two.work) == (one.global_step, one.work)
        assert two.metrics == pytest.approx(one.metrics, rel=1e-3)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("processes", "expected"),
    [(1, ["[None, None, None]"]), (2, ["['0', '0', '2']", "['1', '1', '2']"])],
)
def test_submissions_find_torchruns_variables_if_there_are_several(
    tmp_path, address, processes, expected
):
    folder = write_submission(tmp_path, "records_ranks")
    experiment = plan_faults(tmp_path, folder, processes_per_trial=processes)
    with closing(Cluster(workloads.get, address, TrialResources(processes))) as executor:
        run_sweep(experiment, tmp_path / "out", executor, Quiet())
    assert sorted(file.read_text() for file in tmp_path.glob("process_*")) == expected


@pytest.fixture(scope="module")
def sharded(tmp_path_factory, address):
    """A trial of two processes that nothing disturbed: its folder, its plan and its result."""
    folder = tmp_path_factory.mktemp("sharded")
    experiment = plan_faults(folder, write_submission(folder, "shards"), processes_per_trial=2)
    return folder, experiment, sweep(experiment, folder / "calm", address)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_costs_nothing_and_each_ranks_state_is_kept(
    tmp_path, sharded, address, rank
):
    folder, experiment, calm = sharded
    out = tmp_path / "out"

    def kill(spec, row):
        if len(ledger_rows(out, spec.key)) == 3 and not ledger_rows(out, spec.key, 2):
            os.kill(int((folder / f"rank_{rank}").read_text()), signal.SIGKILL)

    result = sweep(experiment, out, address, Quiet(kill))
    assert (calm.status, result.attempts) == (Status.OUT_OF_TIME, 2)
    assert events(out, "attempt_resumed")
    assert result.rows == calm.rows


@pytest.mark.ray
def test_what_one_rank_raises_ends_the_trial_of_all(tmp_path, address):
    folder = write_submission(tmp_path, "raises_on_rank_1")
    experiment = plan_faults(tmp_path, folder, processes_per_trial=2)
    result = sweep(experiment, tmp_path / "out", address)
    assert (result.status, result.failure) == (Status.FAILED, Failure.SUBMISSION_ERROR)
    assert result.message == "ValueError: I cannot continue, at submission.py:19 in update_params"
    assert [row.global_step for row in result.rows] == [1, 11, 21]


@pytest.mark.ray
def test_the_resources_of_a_trial_are_those_of_all_its_processes(address):
    with closing(Cluster(workloads.get, address, TrialResources(processes=2, gpus=1))) as executor:
        assert executor.slots() == 1
