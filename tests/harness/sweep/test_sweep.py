"""The driver: what it records about a sweep, in which order, and when it is interrupted."""

import os
import signal
from dataclasses import replace

import pytest

import workloads
from harness.executors.local import LocalExecutor
from harness.progress.status import read_status
from harness.sweep import ledger, recorder
from harness.sweep.driver import MAX_FAILED_STARTS
from harness.sweep.interruption import InterruptedSweepError
from harness.sweep.ledger import LedgerError
from harness.sweep.options import EVERY_TRIAL
from harness.sweep.run import run_sweep
from harness.trial.attempt import prepare_process
from scoring.records import Failure, Status, TrialResult
from scoring.tree import read_trial, trial_folder, trial_folders
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, Script, ledger_rows, make_row, plan_faults, plan_toys
from tests.fixtures.toy import make_spec

STEPS = [1, 11, 21, 31, 41]


def here():
    return LocalExecutor(workloads.get)


def result_of(out, spec):
    return read_trial(trial_folder(out, spec))[1]


def finish(driver, spec):
    """Simulates a trial with two rows that meets its goal."""
    driver.started(spec, {"host": "h", "pid": 1})
    rows = [make_row(10), make_row(20, loss=0.5)]
    for row in rows:
        driver.measured(spec, row)
    driver.ended(spec, TrialResult(status=Status.REACHED, rows=rows, submission_seconds=20.0))


def die(driver, spec):
    """Simulates a trial whose process is lost after one row."""
    driver.started(spec, {"host": "h", "pid": 1})
    driver.measured(spec, make_row(10))
    driver.lost(spec, Failure.WORKER_LOST, "gone", "Traceback: gone")


def hang(driver, spec):
    """Simulates a trial that is still running at a Ctrl-C."""
    driver.started(spec, {"host": "h", "pid": 1})
    driver.measured(spec, make_row(10))


def press_ctrl_c(driver, spec):
    raise KeyboardInterrupt


def test_a_sweep_writes_the_ledger_and_the_tree(tmp_path):
    experiment = plan_faults(tmp_path, write_submission(tmp_path, "well_behaved"))
    out = tmp_path / "out"
    summary = run_sweep(experiment, out, here(), Quiet())
    assert (summary.by_status, summary.failed, summary.left) == ({Status.OUT_OF_TIME: 1}, [], 0)
    (spec,) = experiment.specs()
    events = ledger.read(out)
    assert [event["event"] for event in events] == [
        "driver_started", "attempt_started", *["row"] * len(STEPS), "attempt_ended",
    ]  # fmt: skip
    assert [event["sequence"] for event in events] == list(range(len(events)))
    assert all((e["trial"], e["attempt"]) == (spec.key, 1) for e in events[1:])
    result = result_of(out, spec)
    assert [row.global_step for row in result.rows] == STEPS
    assert ledger_rows(out, spec.key) == result.rows


def test_only_new_trials_run_when_a_sweep_is_repeated(tmp_path):
    run_sweep(plan_toys("a", "b"), tmp_path, Script(finish, finish), Quiet())
    again = Script()
    summary = run_sweep(plan_toys("a", "b"), tmp_path, again, Quiet())
    assert (again.names, summary.by_status, summary.left) == ([], {}, 0)
    more = Script(finish)
    run_sweep(plan_toys("a", "b", "c"), tmp_path, more, Quiet())
    assert more.names == ["c/study_0/toy/trial_1"]


def test_a_failing_trial_does_not_affect_others(tmp_path):
    names = ("raises", "well_behaved")
    experiment = plan_faults(tmp_path, *(write_submission(tmp_path, name) for name in names))
    summary = run_sweep(experiment, tmp_path / "out", here(), Quiet())
    assert summary.by_status == {Status.FAILED: 1, Status.OUT_OF_TIME: 1}
    ((spec, _),) = summary.failed
    result = result_of(tmp_path / "out", spec)
    assert (spec.submission, result.failure) == ("raises", Failure.SUBMISSION_ERROR)
    assert result.message == "ValueError: I cannot continue, at submission.py:20 in update_params"
    assert "submission.py" in result.traceback
    assert [row.global_step for row in result.rows] == STEPS[:3]


def test_a_lost_trial_keeps_its_rows_and_is_tried_again(tmp_path):
    experiment = plan_toys("a", "b")
    summary = run_sweep(
        experiment,
        tmp_path,
        Script(die, finish),
        Quiet(),
        options=replace(EVERY_TRIAL, max_attempts=1),
    )
    lost, fine = experiment.specs()
    assert [spec for spec, _ in summary.failed] == [lost]
    result = result_of(tmp_path, lost)
    assert (result.status, result.failure) == (Status.FAILED, Failure.WORKER_LOST)
    assert (result.message, result.traceback) == ("gone", "Traceback: gone")
    assert result.rows == ledger_rows(tmp_path, lost.key) == [make_row(10)]
    assert (result.global_step, result.submission_seconds, result.total_seconds) == (10, 10, 20)
    again = Script(finish)
    assert run_sweep(experiment, tmp_path, again, Quiet()).failed == []
    assert again.names == [lost.key]
    assert (result_of(tmp_path, lost).attempts, result_of(tmp_path, fine).attempts) == (2, 1)
    assert ledger_rows(tmp_path, lost.key, 1) == [make_row(10)]
    assert len(ledger_rows(tmp_path, lost.key, 2)) == 2


def test_a_trial_lost_before_its_first_message_is_recorded_too(tmp_path):
    answers = []

    def vanish(driver, spec):
        answers.extend(
            driver.lost(spec, Failure.OOM, "too big", "") for _ in range(MAX_FAILED_STARTS)
        )

    run_sweep(
        plan_toys("a"),
        tmp_path,
        Script(vanish),
        Quiet(),
        options=replace(EVERY_TRIAL, max_attempts=1),
    )
    result = result_of(tmp_path, next(plan_toys("a").specs()))
    assert (result.failure, result.rows, result.attempts) == (Failure.OOM, [], 1)
    assert answers == [True] * (MAX_FAILED_STARTS - 1) + [False]  # retried until the limit


def test_a_lost_attempt_is_tried_again_up_to_the_limit(tmp_path):
    answers = []

    def die_twice(driver, spec):
        for attempt in (1, 2):
            driver.started(spec, {"host": "h", "pid": attempt})
            driver.resumed(spec, [make_row(7)])
            driver.measured(spec, make_row(10 * attempt))
            answers.append(driver.lost(spec, Failure.WORKER_LOST, "gone", ""))

    summary = run_sweep(
        plan_toys("a"),
        tmp_path,
        Script(die_twice),
        Quiet(),
        options=replace(EVERY_TRIAL, max_attempts=2),
    )
    assert answers == [True, False]
    ((_, result),) = summary.failed
    assert (result.attempts, result.rows) == (2, [make_row(7), make_row(20)])
    events = [event["event"] for event in ledger.read(tmp_path)]
    attempt = ["attempt_started", "attempt_resumed", "row"]
    assert events == ["driver_started", *attempt, "attempt_lost", *attempt, "attempt_ended"]
    assert read_status(tmp_path).hours_spent == pytest.approx((3 + 13) / 3600)


def test_ctrl_c_records_running_trials_as_interrupted(tmp_path):
    experiment = plan_toys("a", "b", "c", "d")
    with pytest.raises(InterruptedSweepError) as stopped:
        run_sweep(experiment, tmp_path, Script(finish, hang, hang, press_ctrl_c), Quiet())
    summary = stopped.value.summary
    assert summary.by_status == {Status.REACHED: 1, Status.INTERRUPTED: 2}
    assert summary.left == 3
    _, running, _, waiting = experiment.specs()
    result = result_of(tmp_path, running)
    assert (result.status, result.rows) == (Status.INTERRUPTED, [make_row(10)])
    assert not trial_folder(tmp_path, waiting).exists()
    again = Script(finish, finish, finish)
    assert run_sweep(experiment, tmp_path, again, Quiet()).left == 0
    assert [name[0] for name in again.names] == ["b", "c", "d"]
    assert (result_of(tmp_path, running).attempts, result_of(tmp_path, waiting).attempts) == (2, 1)


def test_a_real_trial_resumed_after_ctrl_c_gives_the_rows_of_an_undisturbed_one(tmp_path):
    experiment = plan_faults(tmp_path, write_submission(tmp_path, "well_behaved"))
    (spec,) = experiment.specs()

    def stop(spec, row):
        if row.global_step == 21:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedSweepError):
        run_sweep(experiment, tmp_path / "out", here(), Quiet(stop))
    result = result_of(tmp_path / "out", spec)
    assert result.status is Status.INTERRUPTED
    assert result.rows == ledger_rows(tmp_path / "out", spec.key)
    assert [row.global_step for row in result.rows] == STEPS[:3]
    run_sweep(experiment, tmp_path / "out", here(), Quiet())
    run_sweep(experiment, tmp_path / "undisturbed", here(), Quiet())
    resumed, undisturbed = (
        result_of(tmp_path / "out", spec),
        result_of(tmp_path / "undisturbed", spec),
    )
    assert (resumed.attempts, resumed.rows) == (2, undisturbed.rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_an_event_is_recorded_completely(tmp_path, monkeypatch, number):
    write_trial = recorder.write_trial

    def stopped_while_writing(*arguments):
        os.kill(os.getpid(), number)
        return write_trial(*arguments)

    def as_the_command_line_does(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "write_trial", stopped_while_writing)
    before = signal.signal(number, as_the_command_line_does)
    try:
        with pytest.raises(InterruptedSweepError) as stopped:
            run_sweep(plan_toys("a", "b"), tmp_path, Script(finish, finish), Quiet())
        assert signal.getsignal(number) is as_the_command_line_does
    finally:
        signal.signal(number, before)
    assert stopped.value.summary.by_status == {Status.REACHED: 1}
    assert stopped.value.summary.left == 1
    assert result_of(tmp_path, next(plan_toys("a").specs())).status is Status.REACHED
    sequence = [event["sequence"] for event in ledger.read(tmp_path)]
    assert sequence == list(range(len(sequence)))


def test_the_ledger_is_written_first(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(recorder, "write_trial", full_disk)
        with pytest.raises(LedgerError, match=f"no space left.*chronograd resume {tmp_path}"):
            run_sweep(plan_toys("a"), tmp_path, Script(finish), Quiet())
    (spec,) = plan_toys("a").specs()
    assert ledger_rows(tmp_path, spec.key) == [make_row(10), make_row(20, loss=0.5)]
    assert ledger.read(tmp_path)[-1]["event"] == "attempt_ended"
    assert list(trial_folders(tmp_path)) == []
    run_sweep(plan_toys("a"), tmp_path, Script(), Quiet())
    run_sweep(plan_toys("a"), tmp_path / "undisturbed", Script(finish), Quiet())
    assert result_of(tmp_path, spec) == result_of(tmp_path / "undisturbed", spec)


def test_a_process_gets_its_threads_and_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    prepare_process(make_spec(gpus_per_trial=1))
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]) == ("1", "1")
    prepare_process(make_spec())
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_incomplete_folders_of_a_killed_driver_are_removed(tmp_path):
    half = tmp_path / ".writing_abc" / "new"
    half.mkdir(parents=True)
    (half / "trial.json").write_text("{")
    run_sweep(plan_toys("a"), tmp_path, Script(finish), Quiet())
    assert not half.parent.exists()
    assert len(list(trial_folders(tmp_path))) == 1


def test_a_low_priority_of_trials_is_reported_once(tmp_path):
    messages = []

    class Listener(Quiet):
        def on_message(self, spec, message):
            messages.append(message)

    def run(driver, spec):
        driver.started(spec, {"host": "far", "pid": 1, "niceness": 15 + os.nice(0)})
        driver.ended(spec, TrialResult(status=Status.STEP_LIMIT))

    run_sweep(plan_toys("a", "b"), tmp_path, Script(run, run), Listener())
    (message,) = messages
    assert message.startswith("trials on far run at niceness")
    assert "RAY_worker_niceness=0" in message
