"""Trials whose processes are lost, on a real Ray cluster: they resume from their checkpoints."""

import os
import signal
from contextlib import closing

import pytest

import workloads
from harness.executors.cluster import Cluster
from harness.executors.local import LocalExecutor
from harness.sweep import ledger
from harness.sweep.request import Request, check
from harness.sweep.run import run_sweep
from scoring import rulesets
from scoring.records import Failure, RunOptions, Status
from scoring.tree import read_trial, trial_folder
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, ledger_rows, plan_faults

pytestmark = pytest.mark.ray


def events(out, kind):
    return [event for event in ledger.read(out) if event["event"] == kind]


class Killer(Quiet):
    """Kills a trial's process with SIGKILL at the n-th row of its first attempt."""

    def __init__(self, out, nth):
        super().__init__(self.kill)
        self.out, self.nth, self.lines = out, nth, []

    def kill(self, spec, row):
        started = [e for e in events(self.out, "attempt_started") if e["trial"] == spec.key]
        if len(started) == 1 and len(ledger_rows(self.out, spec.key)) == self.nth:
            os.kill(started[0]["pid"], signal.SIGKILL)

    def on_message(self, spec, message):
        self.lines.append(f"{spec.key} {message}")


def plan(tmp_path, *names, **options):
    ruleset = tmp_path / "quick.toml"
    ruleset.write_text("studies = 1\ntrials = 1\nself_tuning_budget_factor = 1\nr_max = 4\n")
    request = Request(
        submissions=["nadamw"], workloads=list(names), ruleset=rulesets.load(str(ruleset)),
        options=RunOptions(**{"clock": "steps", "max_steps": 400, "until": "budget", **options}),
    )  # fmt: skip
    return check(request, workloads.get).complete(tmp_path / "nothing there", None)


def test_a_killed_trial_gives_the_rows_of_an_undisturbed_one(tmp_path, address):
    experiment = plan(tmp_path, "digits", "diabetes")
    out, callback = tmp_path / "out", Killer(tmp_path / "out", nth=3)
    with closing(Cluster(workloads.get, address)) as executor:
        summary = run_sweep(experiment, out, executor, callback)
    assert summary.by_status == {Status.STEP_LIMIT: 2}
    run_sweep(experiment, tmp_path / "undisturbed", LocalExecutor(workloads.get), Quiet())
    for spec in experiment.specs():
        (_, result), (_, undisturbed) = (
            read_trial(trial_folder(root, spec)) for root in (out, tmp_path / "undisturbed")
        )
        assert result.rows == undisturbed.rows
        assert (result.attempts, undisturbed.attempts) == (2, 1)
    assert len(events(out, "attempt_lost")) == len(events(out, "attempt_resumed")) == 2
    assert sum("resumes from its checkpoint" in line for line in callback.lines) == 2


def test_an_attempt_that_hangs_is_stopped_and_not_retried(tmp_path, address):
    experiment = plan_faults(tmp_path, write_submission(tmp_path, "hangs"))
    with closing(Cluster(workloads.get, address, hang_timeout=8)) as executor:
        summary = run_sweep(experiment, tmp_path / "out", executor, Quiet())
    ((_, result),) = summary.failed
    assert (result.failure, result.attempts) == (Failure.TIMEOUT, 1)
    assert "no step and no evaluation for 8 s" in result.message
    assert [row.global_step for row in result.rows] == [1, 11, 21]


def test_a_trial_that_cannot_be_checkpointed_starts_from_scratch_and_reports_it(tmp_path, address):
    experiment = plan_faults(tmp_path, write_submission(tmp_path, "hides"))
    out, callback = tmp_path / "out", Killer(tmp_path / "out", nth=2)
    with closing(Cluster(workloads.get, address)) as executor:
        run_sweep(experiment, out, executor, callback)
    (spec,) = experiment.specs()
    result = read_trial(trial_folder(out, spec))[1]
    assert (result.status, result.attempts) == (Status.OUT_OF_TIME, 2)
    assert [row.global_step for row in result.rows] == [1, 11, 21, 31, 41]
    assert not events(out, "attempt_resumed")
    reasons = {event["reason"] for event in events(out, "attempt_not_resumable")}
    assert reasons == {
        "optimizer_state['generator'] holds a builtins.generator: TypeError: cannot pickle "
        "'generator' object; if interrupted, the trial starts from scratch"
    }
    assert any("cannot be checkpointed" in line for line in callback.lines)
