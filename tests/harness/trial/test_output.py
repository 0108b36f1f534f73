"""What a trial prints, and where it failed, is in its folder; it is still printed."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer import Exit

import workloads
from harness.cli.summary import conclude
from harness.executors.local import LocalExecutor
from harness.sweep.interruption import InterruptedSweepError
from harness.sweep.options import EVERY_TRIAL
from harness.sweep.run import run_sweep
from scoring.records import Failure, Status, TrialResult
from scoring.tree import LOG_BYTES, read_trial, trial_folder
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, Script, plan_faults, plan_toys


def trial_of(tmp_path, code, helper=""):
    """Runs a submission with this code in `update_params`; returns its result and folder."""
    submission = write_submission(tmp_path, code, "mine")
    (submission / "helper.py").write_text(helper)
    experiment = plan_faults(tmp_path, submission)
    run_sweep(experiment, tmp_path / "out", LocalExecutor(workloads.get), Quiet())
    (spec,) = experiment.specs()
    folder = trial_folder(tmp_path / "out", spec)
    return read_trial(folder)[1], folder


def test_everything_that_is_printed_is_recorded_and_shown(tmp_path, capsys):
    code = """import logging, sys, threading
    if global_step == 0: print('at import', 1, sep='|')
    if global_step == 1: sys.stderr.write('an error, no line end')
    if global_step == 2: logging.basicConfig(force=True); logging.warning('logged')
    if global_step == 4: sys.stdout.writelines(['a\\n', 'b\\n']); sys.stdout.flush()
    if global_step == 5:
        thread = threading.Thread(target=print, args=('in a thread',))
        thread.start()
        thread.join()
    if global_step == 6: print('\\r50%\\r100%\\x1b[2J')
    if global_step == 7: assert sys.stdout.encoding and not sys.stdout.isatty()
    if global_step == 49: print('the end')"""
    result, folder = trial_of(tmp_path, code)
    assert result.status is not Status.FAILED, result.message
    log = (folder / "log.txt").read_text()
    assert log.startswith("at import|1\nan error, no line endWARNING:root:logged\n")
    assert "a\nb\nin a thread\n" in log
    assert "\n50%\n100%\\x1b[2J\n" in log
    assert log.endswith("the end\n")
    shown = capsys.readouterr()
    assert "at import|1\n" in shown.out
    assert "an error, no line end" in shown.err
    assert not (tmp_path / "out" / "running").exists()


def test_a_trial_that_prints_nothing_has_no_log(tmp_path):
    _, folder = trial_of(tmp_path, "pass")
    assert {path.name for path in folder.iterdir()} == {
        "eval_measurements.csv", "meta_data_0.json", "trial.json",
    }  # fmt: skip


def test_a_log_is_cut(tmp_path):
    _, folder = trial_of(tmp_path, "print('ä' * 100_000)")
    log = (folder / "log.txt").read_bytes()
    assert LOG_BYTES < len(log) < LOG_BYTES + 100
    assert log.endswith(b"\n[what was printed after this is not recorded]\n")


FAILURES = {
    "raise ValueError('no')": "ValueError: no, at submission.py:19 in update_params",
    "torch.zeros(2) @ torch.zeros(3)": ", at submission.py:19 in update_params",
    "from . import helper; helper.fail()": "RuntimeError: deep, at helper.py:2 in fail",
    "assert False": "AssertionError, at submission.py:19 in update_params",
    "import gone": "No module named 'gone', at submission.py:19 in update_params",
    "raise ValueError('x' * 5000)": "x..., at submission.py:19 in update_params",
    "exec('raise KeyError(1)')": "KeyError: 1, at submission.py:19 in update_params",
    "raise SystemExit(3)": "SystemExit: 3, at submission.py:19 in update_params",
}


@pytest.mark.parametrize("code", FAILURES)
def test_a_message_ends_with_the_place_in_the_submission(tmp_path, code):
    result, folder = trial_of(tmp_path, code, "def fail():\n    raise RuntimeError('deep')\n")
    assert result.failure is Failure.SUBMISSION_ERROR
    assert result.message.endswith(FAILURES[code])
    assert (folder / "traceback.txt").read_text() == result.traceback


def test_a_failing_import_names_its_file_and_line(chronograd, tmp_path):
    submission = write_submission(tmp_path, "pass", "mine")
    (submission / "helper.py").write_text("x = 1\ny = (\n")
    file = submission / "submission.py"
    file.write_text("import helper\n" + file.read_text())
    code, _, err = chronograd("run", "./mine", "-w", "diabetes")
    assert code == 2
    assert err.strip().endswith("at helper.py:2")
    (submission / "helper.py").write_text("x = 1\n1 / 0\n")
    code, _, err = chronograd("run", "./mine", "-w", "diabetes")
    assert err.strip().endswith("ZeroDivisionError: division by zero, at helper.py:2 in <module>")


def test_a_log_continues_over_attempts(tmp_path):
    def cut_off(driver, spec):
        driver.started(spec, {})
        driver.printed(spec, "first\n")
        assert (tmp_path / f"running/{spec.key}.txt").read_text() == "first\n"
        driver.lost(spec, Failure.WORKER_LOST, "gone", "")
        driver.started(spec, {})
        driver.printed(spec, "second ")
        driver.printed(spec, "line\n")
        raise KeyboardInterrupt

    def finish(driver, spec):
        driver.started(spec, {})
        driver.printed(spec, "third\n")
        driver.ended(spec, TrialResult(status=Status.DIVERGED))

    options = replace(EVERY_TRIAL, max_attempts=3)
    with pytest.raises(InterruptedSweepError):
        run_sweep(plan_toys("a"), tmp_path, Script(cut_off), Quiet(), options)
    (spec,) = plan_toys("a").specs()
    log = trial_folder(tmp_path, spec) / "log.txt"
    assert log.read_text() == "first\n[attempt 2]\nsecond line\n"
    run_sweep(plan_toys("a"), tmp_path, Script(finish), Quiet(), options)
    assert log.read_text() == "first\n[attempt 2]\nsecond line\n[attempt 3]\nthird\n"


def failing(message, traceback="Traceback: no"):
    def act(driver, spec):
        driver.started(spec, {})
        driver.failed(spec, Failure.SUBMISSION_ERROR, message, traceback)

    return act


def test_equal_failures_are_one_line(chronograd, tmp_path, capsys):
    out = tmp_path / "out"
    acts = [failing("KeyError: 1"), failing("KeyError: 2"), *[failing("KeyError: 1")] * 5]
    summary = run_sweep(plan_toys(*"abcdefg"), out, Script(*acts), Quiet())
    lines = [
        "x6: a/study_0/toy/trial_1 and 5 more (submission_error): KeyError: 1",
        "b/study_0/toy/trial_1 (submission_error): KeyError: 2",
    ]
    code, shown, _ = chronograd("status", "out")
    assert code == 0
    assert [line for line in shown.splitlines() if "KeyError" in line] == lines
    with pytest.raises(Exit):
        conclude(summary, Path("out"))
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if "KeyError" in line] == [f"failed: {line}" for line in lines]
    traceback = "out/submissions/a/study_0/toy_pytorch/trial_1/traceback.txt"
    assert f"Traceback: {traceback}" in shown
    assert (tmp_path / traceback).read_text() == "Traceback: no"
