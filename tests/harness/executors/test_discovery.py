"""Which Ray cluster a sweep joins: never a guess, never another sweep's, and with its token."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.executors.discovery import starting_own

SWEEP = ("sweep", "nadamw", "-w", "diabetes", "--ruleset", "quick.toml", "--out", "out")


@contextmanager
def node_of(address):
    """A process that looks like Ray's on a node of a cluster."""
    code = "print(flush=True); import time; time.sleep(600)"
    words = [sys.executable, "-c", code, f"--gcs-address={address}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def test_auto_is_refused_if_there_are_several_clusters(chronograd, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with node_of("127.0.0.1:11"), node_of("127.0.0.1:12"), node_of("127.0.0.1:12"):
        with starting_own():
            own = node_of("127.0.0.1:13")
            own.__enter__()
        code, _, err = chronograd(*SWEEP, "--address", "auto", "--dry-run")
        own.__exit__(None, None, None)
    assert code == 2
    assert "Ray clusters run on this machine; give the address of one: " in err
    assert {"127.0.0.1:11", "127.0.0.1:12"} <= set(err.split(": ")[-1].strip().split(", "))
    assert "127.0.0.1:13" not in err


def test_auto_is_the_only_cluster_or_that_of_the_environment(chronograd, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("harness.executors.nodes.running_clusters", lambda: ["127.0.0.1:1"])
    code, _, err = chronograd(*SWEEP, "--address", "auto", "--dry-run")
    assert (code, "no Ray cluster at 127.0.0.1:1: " in err) == (2, True)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    code, _, err = chronograd(*SWEEP, "--address", "auto", "--dry-run")
    assert (code, "no Ray cluster at 127.0.0.1:2: " in err) == (2, True)
    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.setenv("RAY_TMPDIR", "/proc/none")  # without ray_current_cluster
    monkeypatch.setattr("harness.executors.nodes.running_clusters", list)
    code, _, err = chronograd(*SWEEP, "--address", "auto", "--dry-run")
    assert (code, "no Ray cluster runs on this machine; start one" in err) == (2, True)


@pytest.fixture
def short():
    """A folder whose path is short enough for Ray's sockets."""
    folder = tempfile.mkdtemp(dir="/tmp", prefix="cg")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


OWN = """
from harness.executors.discovery import running_clusters
from harness.executors.nodes import connect, head_address
connect(None)
print(head_address(), head_address() in running_clusters())
"""


@pytest.mark.ray
def test_a_sweeps_own_ray_is_found_by_no_other(short):
    environment = {**os.environ, "RAY_TMPDIR": short}
    done = subprocess.run(
        [sys.executable, "-c", OWN], env=environment, capture_output=True, text=True, check=True
    )
    address, found = done.stdout.split()[-2:]
    assert address.startswith("127.0.0.1:")
    assert found == "False"
    (folder,) = Path(short).iterdir()  # no `ray` with session_latest or ray_current_cluster
    assert folder.name == f"chronograd-ray-{os.geteuid()}"


@contextmanager
def head_with_token(folder, port):
    """A head that answers only to those who know its token."""
    words = ["start", "--head", "--block", f"--port={port}", "--num-cpus=1", f"--temp-dir={folder}"]
    words += ["--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-cluster-" * 3, "HOME": folder}
    with subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words], start_new_session=True,
        env={**os.environ, **token}, stdout=subprocess.PIPE, text=True,
    ) as head:  # fmt: skip
        try:
            for line in head.stdout:
                if "Ray runtime started" in line:
                    break
            yield token
        finally:
            os.killpg(head.pid, signal.SIGKILL)


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_that_wants_a_token_says_so(short):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    code = f"from harness.executors.nodes import connect; connect('127.0.0.1:{port}')"
    with head_with_token(short, port) as token:
        for given, why in (({}, "none given"), ({"RAY_AUTH_TOKEN": "x" * 40}, "not the one given")):
            mode = {"RAY_AUTH_MODE": "token"} if given else {}
            empty = {"HOME": f"{short}/none"}
            done = subprocess.run(
                [sys.executable, "-c", code], env={**os.environ, **empty, **mode, **given},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert f"127.0.0.1:{port} wants a token ({why}): set RAY_AUTH_MODE" in done.stderr
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **token}, check=True)
        of_this_machine = Path(short) / ".ray" / "auth_token"
        of_this_machine.parent.mkdir(exist_ok=True)
        of_this_machine.write_text(token["RAY_AUTH_TOKEN"])
        environment = {**os.environ, "HOME": short}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
