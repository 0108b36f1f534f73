"""The Ray cluster: how it is joined or started, and which nodes it has."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants
from ray.exceptions import ActorDiedError, RayTaskError
from ray.job_config import JobConfig

from harness.system import timers
from scoring.escaping import first_line
from scoring.files import private_folder
from scoring.records import UserError

MOST_BYTES_OF_A_FOLDER = 40  # the path of a socket has 107, of which Ray's own names need 67


class ClusterError(UserError):
    """The cluster cannot be used; the message says why and what to do."""


class _Installed(JobConfig):
    """Workers import what is installed on their nodes.

    Ray would put the driver's working directory first on their import path, and the folder of its
    script, unless the job brings a working directory.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def resources(address: str) -> tuple[list[tuple[str, dict[str, float]]], dict[str, float]]:
    """What each living node of the cluster at `address` has, by name; what is free in all.

    Raises:
        ClusterError: There is no cluster.
    """
    connect(address)
    living = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    return [(node["NodeName"], node["Resources"]) for node in living], free


def connect(address: str | None) -> None:
    """Joins the cluster at `address`, or starts one; SIGTERM, which Ray takes over, stays ours.

    A cluster that starts here listens on the loopback interface only: whoever reaches Ray can run
    code on it.

    Trials of a cluster that starts here run at the priority of this process: Ray's default is 15
    steps lower, where other work on the machine displaces them, on the clock.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    if "://" in (address or ""):
        raise ClusterError(
            f"--address {address}: give host:port, as `ray start` prints it, or auto"
        )
    host, _, port = (address or "").rpartition(":")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    try:
        if port.isdigit():  # Ray waits for minutes where nobody listens
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        ray_constants.ENABLE_RAY_CLUSTER = clusters and bool(
            address
        )  # False: loopback, as on macOS
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            job_config=_Installed(),
            _temp_dir=None if address else _short_folder(),
        )
    except ClusterError:
        raise
    except Exception as error:  # noqa: BLE001 - Ray raises that class itself
        where = f"no Ray cluster at {address}" if address else "Ray cannot be started here"
        raise ClusterError(f"{where}: {' '.join(str(error).split())}") from None
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


def _short_folder() -> str | None:
    """Where a cluster that starts here keeps its files; None for Ray's own choice.

    Raises:
        ClusterError: There is no home directory, which Ray needs, or no folder whose name is short
            enough for its sockets.
    """
    try:
        home = Path.home()
    except RuntimeError:
        raise ClusterError("Ray needs a home directory; set HOME to a folder of yours") from None
    if not (os.access(home, os.W_OK) or os.access(home / ".ray", os.W_OK)):
        raise ClusterError(f"Ray writes into HOME, and {home} cannot be written; set HOME to yours")
    chosen = str(get_default_ray_temp_dir())  # type: ignore[no-untyped-call]
    if len(os.fsencode(chosen)) <= MOST_BYTES_OF_A_FOLDER:
        return None
    for parent in ("/tmp", "/var/tmp", "/dev/shm"):
        try:
            short = private_folder(Path(parent) / f"ray-{os.geteuid()}")
        except OSError:
            continue
        sys.stderr.write(f"chronograd: {chosen} is too long for Ray's sockets; it uses {short}\n")
        return str(short)
    raise ClusterError(
        f"{chosen} is too long for Ray's sockets; set RAY_TMPDIR to a folder of at most "
        f"{MOST_BYTES_OF_A_FOLDER - 4} characters"
    )


def living_nodes() -> dict[str, dict[str, float]]:
    """The resources of every node, by its name and in the order of names."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {n["NodeID"]: n["Resources"] for n in sorted(nodes, key=_name) if n["Alive"]}


def describe(nodes: Mapping[str, Mapping[str, float]], slots: int) -> str:
    """The cluster in one line: its address, nodes, CPUs and GPUs, and how many trials fit."""
    cpus, gpus = (sum(has.get(kind, 0.0) for has in nodes.values()) for kind in ("CPU", "GPU"))
    size = ", ".join((_count(len(nodes), "node"), _count(cpus, "CPU"), _count(gpus, "GPU")))
    return f"Ray at {head_address()}: {size}: {_count(slots, 'trial')} at once"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'s' * (number != 1)}"


class LivingNodes:
    """The living nodes, asked for again after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, -math.inf
        self._nodes: dict[str, dict[str, float]] = {}

    def __call__(self) -> dict[str, dict[str, float]]:
        """As `living_nodes`."""
        if timers.monotonic() > self._until:
            self._nodes, self._until = living_nodes(), timers.monotonic() + self._seconds
        return self._nodes


def _name(node: Mapping[str, Any]) -> str:
    return str(node["NodeID"])


def head_address() -> str:
    """Host and port of the head."""
    return str(ray.get_runtime_context().gcs_address)


def node_id() -> str:
    """Ray's name of the node that a process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def cause(error: Exception) -> str:
    """The line that says most in what Ray says of a lost process or a failed call."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    says_it_last = isinstance(error, (ActorDiedError, RayTaskError))
    line = lines[-1 if says_it_last else 0] if lines else ""
    return first_line(f"{type(error).__name__}: {line}")
