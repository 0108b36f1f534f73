"""Joins or starts a Ray cluster, and lists its nodes."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._private.services import find_bootstrap_address
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import ActorDiedError, AuthenticationError, RayError, RayTaskError
from ray.job_config import JobConfig

from harness.executors.discovery import running_clusters, starting_own
from harness.system import timers
from scoring.escaping import first_line
from scoring.files import private_folder
from scoring.records import UserError

OWN_WORKLOADS = "CHRONOGRAD_WORKLOADS"  # see `workloads.register`
MAX_FOLDER_BYTES = 40  # a socket's path has at most 107, of which Ray's own names need 67


class ClusterError(UserError):
    """The cluster cannot be used; the message says why and what to do about it."""


class _Installed(JobConfig):
    """Makes workers import the packages installed on their nodes.

    Ray would put the driver's working directory and the folder of its script first on their import
    path, unless the job has a working directory.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def resources(address: str) -> tuple[list[tuple[str, dict[str, float]]], dict[str, float]]:
    """Returns name and resources of each living node of a cluster, and all free resources.

    Raises:
        ClusterError: There is no cluster at `address`.
    """
    connect(address)
    living = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    return [(node["NodeName"], node["Resources"]) for node in living], free


def connect(address: str | None) -> None:
    """Joins the cluster at `address`, or starts one; keeps the handler of SIGTERM.

    A cluster started here listens on the loopback interface only, as anybody who can connect to Ray
    can run code on it. Its files are in a folder of its own, and `auto` never finds it.

    Trials on a cluster started here run at the priority of this process. By default, Ray lowers it
    by 15 steps, so that other processes could slow trials down while their clock runs.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    if address == "auto":
        address = _only_cluster()
    if "://" in (address or ""):
        raise ClusterError(
            f"--address {address}: give host:port, as `ray start` prints it, or auto"
        )
    host, _, port = (address or "").rpartition(":")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    try:
        if port.isdigit():  # Ray would wait for minutes if nothing listens there
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            _check_token(str(address))
        ray_constants.ENABLE_RAY_CLUSTER = clusters and bool(
            address
        )  # False: loopback, as on macOS
        with nullcontext() if address else starting_own():
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                job_config=_Installed(runtime_env=_environment()),
                _temp_dir=None if address else _own_folder(),
            )
    except ClusterError:
        raise
    except Exception as error:  # noqa: BLE001 - Ray raises Exception itself
        where = f"no Ray cluster at {address}" if address else "Ray cannot be started here"
        raise ClusterError(f"{where}: {' '.join(str(error).split())}") from None
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


def _environment() -> dict[str, Any] | None:
    """Returns the variables that trials get on any cluster: where own workloads are."""
    given = os.environ.get(OWN_WORKLOADS)
    return {"env_vars": {OWN_WORKLOADS: given}} if given else None


def _only_cluster() -> str:
    """Returns the address that `auto` stands for: RAY_ADDRESS, or the only cluster of this machine.

    Raises:
        ClusterError: There are several clusters, or none.
    """
    if given := os.environ.get("RAY_ADDRESS"):
        return given
    found = running_clusters()
    if not found and (started := find_bootstrap_address(None)):
        found = [started]  # its processes may be hidden
    if not found:
        raise ClusterError(
            "--address auto: no Ray cluster runs on this machine; start one with `ray start`, or "
            "give host:port"
        )
    if len(found) > 1:
        raise ClusterError(
            f"--address auto: {len(found)} Ray clusters run on this machine; give the address of "
            f"one: {', '.join(found)}"
        )
    return found[0]


def _check_token(address: str) -> None:
    """Takes the token of this machine if the cluster wants one and RAY_AUTH_MODE is not set.

    Raises:
        ClusterError: The cluster wants another token than this process has. Ray would try for 20
            seconds, and then say that there is no cluster.
    """
    if _answers(address):
        return
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # it writes RAY_AUTH_MODE
    if not _answers(address):
        given = "not the one given" if os.environ.get("RAY_AUTH_MODE") == "token" else "none given"
        raise ClusterError(
            f"the Ray cluster at {address} wants a token ({given}): set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to those of the cluster"
        )


def _answers(address: str) -> bool:
    """Whether a cluster accepts the token of this process, or fails for another reason."""
    try:
        GcsClient(address=address, cluster_id=None)
    except AuthenticationError:
        return False
    except RayError:  # ray.init says what is wrong
        return True
    return True


def _own_folder() -> str:
    """Returns the folder for the files of a cluster started here.

    It is not Ray's default, whose link `session_latest` would then name this cluster.

    Raises:
        ClusterError: There is no home directory, which Ray needs, or no folder with a path short
            enough for its sockets.
    """
    try:
        home = Path.home()
    except RuntimeError:
        raise ClusterError("Ray needs a home directory; set HOME to a folder you own") from None
    if not (os.access(home, os.W_OK) or os.access(home / ".ray", os.W_OK)):
        raise ClusterError(f"Ray needs HOME, but {home} cannot be written; set HOME to your folder")
    chosen = Path(get_default_ray_temp_dir()).parent  # type: ignore[no-untyped-call]
    name = f"chronograd-ray-{os.geteuid()}"
    is_short = len(os.fsencode(chosen / name)) <= MAX_FOLDER_BYTES
    for parent in (*[chosen] * is_short, *map(Path, ("/tmp", "/var/tmp", "/dev/shm"))):
        try:
            own = private_folder(parent / name)
        except OSError:
            continue
        if not is_short:
            sys.stderr.write(f"chronograd: {chosen} is too long for Ray's sockets; using {own}\n")
        return str(own)
    raise ClusterError(
        f"{chosen} is too long for Ray's sockets; set RAY_TMPDIR to a folder of at most "
        f"{MAX_FOLDER_BYTES - len(name) - 1} characters"
    )


def living_nodes() -> dict[str, dict[str, float]]:
    """Returns the resources of all living nodes by id, sorted by id."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {n["NodeID"]: n["Resources"] for n in sorted(nodes, key=_name) if n["Alive"]}


def describe(nodes: Mapping[str, Mapping[str, float]], slots: int) -> str:
    """Returns a line with the cluster's address, nodes, CPUs, GPUs and number of slots."""
    cpus, gpus = (sum(has.get(kind, 0.0) for has in nodes.values()) for kind in ("CPU", "GPU"))
    size = ", ".join((_count(len(nodes), "node"), _count(cpus, "CPU"), _count(gpus, "GPU")))
    return f"Ray at {head_address()}: {size}: {_count(slots, 'trial')} at once"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'s' * (number != 1)}"


class LivingNodes:
    """Caches the living nodes for some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, -math.inf
        self._nodes: dict[str, dict[str, float]] = {}

    def __call__(self) -> dict[str, dict[str, float]]:
        """Returns what `living_nodes` does, at most `seconds` old."""
        if timers.monotonic() > self._until:
            self._nodes, self._until = living_nodes(), timers.monotonic() + self._seconds
        return self._nodes


def _name(node: Mapping[str, Any]) -> str:
    return str(node["NodeID"])


def head_address() -> str:
    """Returns host and port of the head."""
    return str(ray.get_runtime_context().gcs_address)


def node_id() -> str:
    """Returns Ray's id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def cause(error: Exception) -> str:
    """Returns the most informative line of Ray's error about a lost process or a failed call."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    is_last = isinstance(error, (ActorDiedError, RayTaskError))
    line = lines[-1 if is_last else 0] if lines else ""
    return first_line(f"{type(error).__name__}: {line}")
