"""The loss of Ray's head: the message, the exit code, and that the sweep can be resumed."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from harness.executors import head
from harness.executors.head import EXIT_CODE, Head
from harness.progress.status import read_status
from harness.sweep import ledger
from harness.sweep.interruption import HeadLostError
from harness.sweep.restore import remaining
from harness.sweep.run import run_sweep
from scoring.records import Status
from scoring.tree import read_trial, trial_folder
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import Quiet, make_row, plan_faults, plan_toys


@pytest.fixture
def impatient(monkeypatch):
    for name in ("POLL_SECONDS", "LOST_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(head, name, 0.05)
    monkeypatch.setattr(
        sys, "argv", ["chronograd", "sweep", "a", "--out", "a b", "--address", "x:1"]
    )


def test_a_head_that_answers_is_not_lost(impatient):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with Head(f"127.0.0.1:{server.getsockname()[1]}", int) as watched:
            assert watched.answers()
            time.sleep(0.5)
        watched.raise_if_lost()


def test_a_driver_is_notified_that_its_head_is_lost(impatient, monkeypatch):
    monkeypatch.setattr(head, "GRACE_SECONDS", 60.0)
    with Head("127.0.0.1:1", lambda: 3) as watched:
        assert not watched.answers()
        watched._is_lost.wait(60)
        with pytest.raises(
            HeadLostError,
            match=r"head at 127.0.0.1:1 is gone. 3 trials are left, .* resume with: "
            r"chronograd sweep a --out 'a b' --address x:1$",
        ):
            watched.raise_if_lost()


def test_a_driver_blocked_in_ray_exits_with_the_same_line(tmp_path):
    code = (
        "import sys, time\n"
        "from harness.executors import head\n"
        "head.POLL_SECONDS = head.LOST_SECONDS = head.GRACE_SECONDS = 0.05\n"
        "sys.argv = ['chronograd', 'sweep', '--resume', 'out']\n"
        "with head.Head('127.0.0.1:1', lambda: 5): time.sleep(600)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == EXIT_CODE == os.EX_TEMPFAIL
    (line,) = found.stderr.splitlines()
    assert "5 trials are left" in line
    assert line.endswith("chronograd sweep --resume out")


def test_running_trials_are_recorded_as_interrupted(tmp_path):
    class Loses:
        def run(self, specs, driver):
            driver.started(specs[0], {"host": "h", "pid": 1})
            driver.measured(specs[0], make_row(3))
            raise HeadLostError("gone")

    experiment = plan_toys("a", "b")
    with pytest.raises(HeadLostError):
        run_sweep(experiment, tmp_path, Loses(), Quiet())
    result = read_trial(trial_folder(tmp_path, next(iter(experiment.specs()))))[1]
    assert (result.status, result.rows) == (Status.INTERRUPTED, [make_row(3)])
    assert len(remaining(tmp_path, experiment)) == 2


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("part", ["head", "gcs_server"])
def test_a_sweep_whose_head_is_killed_is_resumed_on_another_cluster(tmp_path, address, part):
    """Kills a cluster in its own process group, or only the head's process."""
    from tests.harness.executors.test_cluster import QUICK, Command, event_of, run_here, wait_for

    submissions = [write_submission(tmp_path, "waits", name) for name in ("a", "b")]
    code = (
        "import time\n"
        "from ray.cluster_utils import Cluster\n"
        "nodes = Cluster(initialize_head=True, head_node_args={'num_cpus': 2,\n"
        "    'include_dashboard': False})\n"
        "print(nodes.address, nodes.head_node.all_processes['gcs_server'][0].process.pid,\n"
        "    flush=True)\n"
        "time.sleep(600)\n"
    )
    cluster = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        where, pid = cluster.stdout.readline().split()
        out = tmp_path / "out"
        arguments = ("a", "b", *QUICK, "--out", out, "--address", where)
        with Command(tmp_path, *arguments) as command:
            wait_for(lambda: len(event_of(out, "row")) >= 6)
            if part == "head":
                os.killpg(cluster.pid, signal.SIGKILL)
            else:
                os.kill(int(pid), signal.SIGKILL)
            code, output = command.end()
    finally:
        os.killpg(cluster.pid, signal.SIGKILL)
        cluster.wait()
    assert code == EXIT_CODE, output
    last = output.splitlines()[-1]
    assert last.startswith(f"chronograd: Ray's head at {where} is gone. 2 trials are left")
    assert last.endswith(f"--out {out} --address {where}")
    assert not read_status(out).alive
    for submission in submissions:
        submission.with_name(submission.name + ".go").touch()
    with Command(tmp_path, "--resume", out, "--address", address) as command:
        code, output = command.end()
    assert code == 0, output
    undisturbed = run_here(tmp_path, *submissions)
    for spec in plan_faults(tmp_path, *submissions).specs():
        assert read_trial(trial_folder(out, spec))[1].rows == undisturbed[spec.submission].rows
    sequence = [event["sequence"] for event in ledger.read(out)]
    assert sequence == list(range(len(sequence)))
