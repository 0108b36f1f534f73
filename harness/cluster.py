"""Runs trials on Ray, each attempt in a fresh process. The only file that imports ray.

Imports no torch: a trial's process sets its threads and devices first.
"""

from __future__ import annotations

import enum
import logging
import math
import os
import signal
import socket
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError

from harness.attempt import LoadWorkload
from harness.process import BEAT_SECONDS, TrialProcess
from scoring.records import Failure, TrialSpec, UserError

if TYPE_CHECKING:
    from harness.sweep import Driver

HANG_TIMEOUT = 3600.0


class _Outcome(enum.Enum):
    """What becomes of an attempt after an event."""

    GOES_ON = enum.auto()
    DONE = enum.auto()
    AGAIN = enum.auto()  # its process was lost


@dataclass(slots=True)
class _Running:
    """An attempt under way: its process, its trial, and when it was last heard of."""

    actor: Any
    spec: TrialSpec
    began: bool = False
    heard: float = 0.0
    deadline: float = math.inf


class ClusterError(UserError):
    """The cluster cannot be used; the message says why and what to do."""


class Cluster:
    """An executor that fills a Ray cluster: its own on this machine, or the one at `address`.

    It connects when it is first needed: where nothing is left to run, no Ray is started.

    Args:
        load_workload: Gives the workload of a name, data directory and device; found by its
            module's name on every node.
        address: Of a running cluster; None starts one here and stops it in the end.
        cpus_per_trial: CPUs, and torch threads, of a trial.
        gpus_per_trial: GPUs of a trial, exclusively its own.
        hang_timeout: Seconds without a step or an event after which an attempt is ended.
    """

    def __init__(
        self,
        load_workload: LoadWorkload,
        address: str | None = None,
        cpus_per_trial: int = 1,
        gpus_per_trial: int = 0,
        hang_timeout: float = HANG_TIMEOUT,
    ) -> None:
        self._load_workload = load_workload
        self._hang_timeout = hang_timeout
        self._resources = {"num_cpus": cpus_per_trial, "num_gpus": gpus_per_trial}
        self._address = address
        self._connected = False

    def connect(self) -> None:
        """Joins or starts the cluster, once.

        Raises:
            ClusterError: There is none, or it has no room for a trial.
        """
        if self._connected:
            return
        _connect(self._address)
        self._connected = True
        if self.slots() < 1:
            self.close()
            raise ClusterError(
                f"the cluster has no room for a trial with {self._resources['num_cpus']} CPUs and "
                f"{self._resources['num_gpus']} GPUs; see --cpus-per-trial and --gpus-per-trial"
            )

    def slots(self) -> int:
        """How many trials run at once: as many as fit on each living node."""
        self.connect()
        fits = 0
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            if node["Alive"]:
                has = node["Resources"]
                rooms = [has.get("CPU", 0) // self._resources["num_cpus"]]
                if self._resources["num_gpus"]:
                    rooms.append(has.get("GPU", 0) // self._resources["num_gpus"])
                fits += int(min(rooms))
        return fits

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Median seconds of a step of `spec` by node type, in as many processes as there are slots.

        All at once, so that they share each machine as the sweep's trials will.
        """
        actors = [self._new_process() for _ in range(self.slots())]
        times = [actor.time_steps.remote(self._load_workload, spec) for actor in actors]
        by_type: dict[str, list[float]] = {}
        try:
            for node_type, seconds in ray.get(times):
                by_type.setdefault(node_type, []).append(seconds)
        except RayError as error:
            raise ClusterError(f"the baseline's step cannot be timed: {_cause(error)}") from None
        finally:
            for actor in actors:
                ray.kill(actor)
        return {node_type: statistics.median(all_) for node_type, all_ in by_type.items()}

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs every trial, all slots filled; a process that dies harms its own trial alone."""
        waiting = deque(specs)
        running: dict[Any, _Running] = {}  # by stream of events
        try:
            while waiting or running:
                while waiting and len(running) < max(1, self.slots()):
                    spec = waiting.popleft()
                    if driver.needless(spec):
                        continue
                    process = _Running(self._new_process(), spec)
                    running[self._stream(process, driver)] = process
                if not running:
                    continue
                ready, _ = ray.wait(list(running), num_returns=1, timeout=BEAT_SECONDS)
                outcomes = {s: self._take(s, running[s], driver) for s in ready}
                for stream, process in running.items():
                    if stream not in outcomes and self._hangs(process):
                        outcomes[stream] = self._hung(process, driver)
                for stream, outcome in outcomes.items():
                    process = running[stream]
                    if outcome is not _Outcome.GOES_ON:
                        ray.kill(process.actor)  # its CPUs are free only once it is gone
                        del running[stream]
                    if outcome is _Outcome.AGAIN:
                        waiting.appendleft(process.spec)
                if _Outcome.DONE in outcomes.values() or not ready:
                    self._hand_out_deadlines(running.values(), driver)
        finally:
            for process in running.values():
                ray.kill(process.actor)

    def _take(self, stream: Any, process: _Running, driver: Driver) -> _Outcome:
        """Takes one event off a stream."""
        spec = process.spec
        try:
            kind, payload = ray.get(next(stream))
        except (RayError, StopIteration) as error:
            failure = Failure.WORKER_LOST
            if isinstance(error, OutOfMemoryError):
                failure = Failure.OOM
            again = driver.lost(spec, failure, _cause(error), str(error))
            return _Outcome.AGAIN if again else _Outcome.DONE
        process.heard = time.monotonic()
        if kind == "started":
            process.began = True
            driver.started(spec, payload)
        elif kind == "ended":
            driver.ended(spec, payload)
            forgotten = process.actor.forget.remote(driver.checkpoints(spec))
            ray.wait([forgotten], timeout=BEAT_SECONDS)
            return _Outcome.DONE
        elif kind == "broken":  # not by the trial: what it runs on fails every time
            last_line = payload.strip().splitlines()[-1]
            driver.failed(spec, Failure.WORKER_LOST, last_line, payload)
            return _Outcome.DONE
        elif kind != "beat":
            driver.take(spec, kind, payload)
        return _Outcome.GOES_ON

    def _hangs(self, process: _Running) -> bool:
        return process.began and time.monotonic() - process.heard > self._hang_timeout

    def _hung(self, process: _Running, driver: Driver) -> _Outcome:
        """Ends an attempt that makes no steps."""
        silent = f"no step and no evaluation for {self._hang_timeout:g} s (--hang-timeout)"
        driver.failed(process.spec, Failure.TIMEOUT, silent)
        return _Outcome.DONE

    def _new_process(self) -> Any:
        actor = ray.remote(TrialProcess).options(
            max_restarts=0, max_task_retries=0, max_concurrency=2, **self._resources
        )
        return actor.remote()

    def _stream(self, process: _Running, driver: Driver) -> Any:
        """Starts a trial; its process goes on from an event once it was taken off the stream."""
        options = {"num_returns": "streaming", "_generator_backpressure_num_objects": 1}
        run = process.actor.run.options(**options)
        process.deadline = driver.deadline(process.spec)
        where = driver.checkpoints(process.spec)
        return run.remote(self._load_workload, process.spec, where, process.deadline)

    def _hand_out_deadlines(self, running: Iterable[_Running], driver: Driver) -> None:
        """Tells trials under way where theirs has come nearer."""
        for process in running:
            deadline = driver.deadline(process.spec)
            if process.began and deadline < process.deadline:
                process.deadline = deadline
                process.actor.set_deadline.remote(deadline)

    def close(self) -> None:
        """Disconnects; a cluster that was started here stops."""
        if self._connected:
            ray.shutdown()
            self._connected = False


def _connect(address: str | None) -> None:
    """Joins the cluster at `address`, or starts one; SIGTERM, which Ray takes over, stays ours."""
    host, _, port = (address or "").rpartition(":")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if port.isdigit():  # Ray waits for minutes where nobody listens
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster at {address}" if address else "Ray cannot be started here"
        raise ClusterError(f"{where}: {' '.join(str(error).split())}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


def _cause(error: Exception) -> str:
    """The line that says most in what Ray says of a lost process or a failed call."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    says_it_last = isinstance(error, (ActorDiedError, RayTaskError))
    return f"{type(error).__name__}: {lines[-1 if says_it_last else 0] if lines else ''}"
