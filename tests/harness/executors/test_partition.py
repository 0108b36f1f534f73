"""A network partition between the driver and a worker node: two namespaces and a veth pair.

Needs root and the command ip. Packets are lost silently, as in a switch that fails, because each
side has a wrong hardware address for the other.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import pytest

from harness.sweep import ledger
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import Status
from scoring.tree import read_trial, trial_folder
from tests.fixtures import sweeps
from tests.fixtures.faults import RULESET, write_submission
from tests.fixtures.sweeps import plan_faults
from tests.harness.executors.test_cluster import (
    QUICK,
    event_of,
    is_alive,
    last_step,
    run_here,
    wait_for,
)

NAMES, ADDRESSES = ("chronograd-a", "chronograd-b"), ("10.77.0.1", "10.77.0.2")
HEAD = f"{ADDRESSES[0]}:6399"
NOWHERE = "02:00:00:00:00:99"


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def can_make_namespaces():
    if os.geteuid() or shutil.which("ip") is None:
        return False
    return subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root, ip and network namespaces"),
]


class Network:
    """The namespaces, the processes in them, and the link between them."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.temporary = tempfile.mkdtemp(prefix="cg", dir="/tmp")  # sockets need a short path
        for name in NAMES:
            ip("netns", "add", name)
        ip(
            "link",
            "add",
            "cg0",
            "netns",
            NAMES[0],
            "type",
            "veth",
            "peer",
            "cg1",
            "netns",
            NAMES[1],
        )
        for number, name in enumerate(NAMES):
            ip("-n", name, "addr", "add", f"{ADDRESSES[number]}/24", "dev", f"cg{number}")
            for device in ("lo", f"cg{number}"):
                ip("-n", name, "link", "set", device, "up")

    def start(self, side, *command):
        """Starts a program in one of the namespaces; returns its process and its log's path."""
        log = self.folder / f"log_{len(self.processes)}.txt"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", NAMES[side], *map(str, command)],
                cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 64 * "0"},
            )  # fmt: skip
        self.processes.append(process)
        return SimpleNamespace(process=process, log=log)

    def node(self, side, *options):
        """Starts a node of the Ray cluster."""
        started = self.start(
            side, sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
            f"--node-ip-address={ADDRESSES[side]}", "--object-store-memory=100000000", *options,
        )  # fmt: skip
        wait_for(lambda: "Ray runtime started" in started.log.read_text())
        return started

    def cut(self):
        for side, name in enumerate(NAMES):
            other = ADDRESSES[1 - side]
            ip("-n", name, "neigh", "replace", other, "lladdr", NOWHERE, "dev", f"cg{side}",
               "nud", "permanent")  # fmt: skip

    def heal(self):
        for side, name in enumerate(NAMES):
            ip("-n", name, "neigh", "del", ADDRESSES[1 - side], "dev", f"cg{side}")

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for name in NAMES:
            for pid in ip("netns", "pids", name).split():  # workers are in other sessions
                os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", name)
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture
def network(tmp_path):
    found = Network(tmp_path)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.parametrize(
    ("seconds", "spare"), [(20, False), (20, True), (60, False), (60, True), (300, True)]
)
def test_a_partition_loses_no_row_and_changes_no_score(
    tmp_path, network, seconds, spare, monkeypatch
):
    """Healed while the trial is still running, or after it moved to another node, `spare`."""
    monkeypatch.setattr(sweeps, "RULESET", RULESET.replace("0.001", "0.57"))  # met at step 41
    submission, out = write_submission(tmp_path, "waits"), tmp_path / "out"
    (spec,) = plan_faults(tmp_path, submission).specs()
    network.node(0, "--head", "--port=6399", "--num-cpus=0", "--include-dashboard=false",
                 f"--temp-dir={network.temporary}")  # fmt: skip
    worker = network.node(1, f"--address={HEAD}", "--num-cpus=1")
    sweep = network.start(
        0, sys.executable, "-m", "harness.cli", "sweep", submission.name, *QUICK, "--out", out,
        "--address", HEAD, "--checkpoint-dir", tmp_path / "checkpoints",
    )  # fmt: skip
    wait_for(lambda: last_step(out, spec.key, 1) == 21)
    network.cut()
    began = time.monotonic()
    if spare:
        network.node(0, f"--address={HEAD}", "--num-cpus=1")
    (first,) = event_of(out, "attempt_started")
    go = submission.with_name(submission.name + ".go")
    if spare and seconds >= 60:  # the trial is lost, and ends on the other node first
        wait_for(lambda: event_of(out, "attempt_lost"), seconds)
        go.touch()
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    network.heal()
    go.touch()
    if seconds >= 60 and not spare:  # Ray has given the node up, which exits; start it again
        worker.process.wait(timeout=120)
        network.node(1, f"--address={HEAD}", "--num-cpus=1")
    assert sweep.process.wait(timeout=300) == 0, sweep.log.read_text()
    wait_for(lambda: not is_alive(first["pid"]))  # the lost attempt stops training
    assert_undisturbed(out, spec, submission, tmp_path)


def assert_undisturbed(out, spec, submission, folder):
    """Checks that rows and leaderboard equal those of a sweep without a partition."""
    undisturbed = run_here(folder, submission)[spec.submission]
    result = read_trial(trial_folder(out, spec))[1]
    assert (result.status, result.rows) == (Status.REACHED, undisturbed.rows)
    events = ledger.read(out)
    assert [event["sequence"] for event in events] == list(range(len(events)))
    rows = [(e["attempt"], e["row"]["global_step"]) for e in events if e["event"] == "row"]
    assert len(rows) == len(set(rows))
    over = 0  # attempts that were given up
    for event in events:
        over = event["attempt"] if event["event"] == "attempt_lost" else over
        assert event["event"] != "row" or event["attempt"] > over
    assert scores_of(out) == scores_of(folder / "undisturbed")


def scores_of(tree):
    """Returns scores, hours and times of a leaderboard."""
    return [
        (s.name, s.score, s.hours, {name: cell.seconds for name, cell in s.cells.items()})
        for s in make_leaderboard(read([tree])).standings
    ]
