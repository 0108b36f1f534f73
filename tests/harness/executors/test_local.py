"""Trials of `chronograd run`: whatever a submission does to its process, its trial is recorded."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import workloads
from harness.executors.local import LocalExecutor
from harness.sweep import ledger
from harness.sweep.run import run_sweep
from harness.system import children
from scoring.records import Failure, Status
from scoring.tree import read_trial, trial_folder
from tests.fixtures.faults import RULESET, write_submission
from tests.fixtures.sweeps import Quiet, plan_faults

HARMLESS = {
    "json": "import json; json.dumps = json.JSONEncoder.encode = None",
    "disk": "os.fsync = os.replace = os.rename = os.write = None; Path.replace = Path.open = None",
    "temporary files": "import tempfile; tempfile.mkstemp = tempfile.gettempdir = None",
    "built-in functions": "import builtins; builtins.print = builtins.open = None",
    "streams": "import sys; sys.stdout.close(); sys.stderr = None",
    "surroundings": "os.chdir('/'); os.environ.clear(); os.umask(0o777)",
    "threads": "import threading; threading.Lock = threading.Thread = None",
    "a timer": "signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.alarm(1)",
    "an ignored Ctrl-C": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
}
JUNK = """for file in range(3, 256):
    try: os.write(file, {} + b'junk')
    except OSError: pass
"""
LOST = "the connection to its process was lost"
FATAL = {
    "os.kill(os.getpid(), signal.SIGKILL)": "its process was killed by SIGKILL",
    "import ctypes; ctypes.string_at(0)": "its process was killed by SIGSEGV",
    "signal.alarm(1); time.sleep(9)": "its process was killed by SIGALRM",
    "os.kill(os.getpid(), 40)": "its process was killed by signal 40",
    "import posix; posix._exit(7)": "its process ended with exit code 7",
    "os.closerange(3, 256)": f"its process ended with exit code 1|{LOST}",
    JUNK.format("bytes([0, 0, 0, 4])"): LOST,
    JUNK.format("bytes([127, 0, 0, 0])"): LOST,  # the length of a message that does not follow
}


def results_of(tmp_path, *bodies, out="out", callback=None):
    """Trains a submission per body, which runs in every step; returns the results."""
    names = [f"mine_{number}" for number in range(len(bodies))]
    for body, name in zip(bodies, names, strict=True):
        if not (tmp_path / name).exists():
            write_submission(tmp_path, body, name)
    experiment = plan_faults(tmp_path, *(tmp_path / name for name in names))
    executor = LocalExecutor(workloads.get)
    run_sweep(experiment, tmp_path / out, executor, callback or Quiet())
    return [read_trial(trial_folder(tmp_path / out, spec))[1] for spec in experiment.specs()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    (result,) = results_of(tmp_path_factory.mktemp("undisturbed"), "pass")
    return result


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
def test_what_a_submission_does_to_its_process_does_not_reach_the_driver(
    tmp_path, undisturbed, body
):
    (result,) = results_of(tmp_path, f"if global_step == 5: exec({body!r})")
    assert (result.status, result.attempts) == (Status.OUT_OF_TIME, 1), result.traceback
    assert result.rows == undisturbed.rows


def test_what_a_submission_changes_does_not_reach_the_trial_of_another(tmp_path, undisturbed):
    body = "torch.set_default_dtype(torch.float64); torch.nn.functional.mse_loss = None"
    _, after = results_of(tmp_path, body, "pass")
    assert after.rows == undisturbed.rows


@pytest.mark.parametrize(
    "body", [pytest.param(b, marks=[pytest.mark.slow] * ("alarm" in b or "40" in b)) for b in FATAL]
)
def test_a_process_that_dies_is_a_failure_with_its_cause_and_its_rows(
    tmp_path, monkeypatch, undisturbed, body
):
    monkeypatch.setattr(children, "REST_SECONDS", 1)
    (result,) = results_of(tmp_path, f"if global_step == 25: exec({body!r})")
    assert (result.status, result.failure) == (Status.FAILED, Failure.WORKER_LOST)
    assert re.fullmatch(FATAL[body], result.message), result.message
    assert result.attempts == 3
    assert result.rows == undisturbed.rows[:3]


def test_a_process_that_is_killed_once_resumes_from_its_last_evaluation(tmp_path, undisturbed):
    def kill(spec, row):
        started = [e for e in ledger.read(tmp_path / "out") if e["event"] == "attempt_started"]
        if row.global_step == 21 and len(started) == 1:
            os.kill(started[0]["pid"], signal.SIGKILL)

    (result,) = results_of(tmp_path, "pass", callback=Quiet(kill))
    assert (result.status, result.attempts) == (Status.OUT_OF_TIME, 2)
    assert result.rows == undisturbed.rows
    assert "attempt_resumed" in [event["event"] for event in ledger.read(tmp_path / "out")]


def test_trials_go_on_if_the_process_that_they_are_forked_from_is_killed(tmp_path, undisturbed):
    body = """once = here.parent / 'killed'
    if global_step == 25 and not once.exists():
        once.touch()
        os.kill(os.getppid(), signal.SIGKILL)"""
    for result in results_of(tmp_path, body, "pass"):
        assert (result.status, result.rows) == (Status.OUT_OF_TIME, undisturbed.rows)


def test_forks_of_a_submission_may_print_and_send_nothing_to_the_driver(tmp_path, undisturbed):
    body = """if global_step == 5 and not os.fork():
        print('in a fork', flush=True)
        os._exit(0)
    if global_step == 7 and not os.fork(): raise SystemExit"""
    (result,) = results_of(tmp_path, body)
    assert (result.status, result.rows) == (Status.OUT_OF_TIME, undisturbed.rows)


def test_the_process_of_a_trial_ends_with_its_driver(tmp_path):
    write_submission(
        tmp_path, "(here.parent / 'pid').write_text(str(os.getpid())); time.sleep(1)", "a"
    )
    (tmp_path / "quick.toml").write_text(RULESET)
    command = [sys.executable, "-m", "harness.cli", "run", "./a", "-w", "diabetes"]
    command += ["--ruleset", "quick.toml", "--clock", "steps", "--out", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as driver:
        wait_until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
        driver.kill()
    process = Path("/proc", (tmp_path / "pid").read_text())
    wait_until(lambda: not process.exists() or "\nState:\tZ" in (process / "status").read_text())


@pytest.mark.slow
def test_a_long_temporary_folder_is_no_obstacle(tmp_path):
    """The process that others are forked from has a socket there, whose name is limited."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (tmp_path / "quick.toml").write_text(RULESET)
    command = [sys.executable, "-m", "harness.cli", "run", "nadamw", "-w", "diabetes"]
    command += ["--ruleset", "quick.toml", "--clock", "steps", "--out", "out", "--max-steps", "2"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def wait_until(condition):
    late = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < late
        time.sleep(0.05)
