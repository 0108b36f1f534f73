"""Runs trials on Ray, each attempt in a fresh process. The only file that imports ray.

Imports no torch: a trial's process sets its threads and devices first.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import statistics
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError

from harness.attempt import LoadWorkload, prepare_process, run_attempt, time_steps
from scoring.records import EvalRow, Failure, TrialSpec, UserError

if TYPE_CHECKING:
    from harness.sweep import Driver

Event = tuple[str, Any]  # ("started", where), ("row", EvalRow), then ("ended", TrialResult)


class ClusterError(UserError):
    """The cluster cannot be used; the message says why and what to do."""


class TrialProcess:
    """The actor of one attempt. Ray gives it a process that nothing has run in before."""

    def run(self, load_workload: LoadWorkload, spec: TrialSpec) -> Iterator[Event]:
        """Streams the attempt's events.

        Training runs in a thread of its own and goes on from an evaluation once the driver has
        taken its row: what happens to this process afterwards can lose no row.
        """
        prepare_process(spec)
        events: queue.Queue[Event] = queue.Queue()

        def report(row: EvalRow) -> None:
            events.put(("row", row))
            events.join()

        def train() -> None:
            try:
                events.put(("ended", run_attempt(load_workload, spec, report)))
            except BaseException:  # noqa: BLE001 - a thread's exception would vanish
                events.put(("broken", traceback.format_exc()))

        yield ("started", {"host": os.uname().nodename, "pid": os.getpid()})
        threading.Thread(target=train, daemon=True).start()
        kind = ""
        while kind not in ("ended", "broken"):
            kind, payload = events.get()
            yield (kind, payload)
            events.task_done()

    def time_steps(self, load_workload: LoadWorkload, spec: TrialSpec) -> tuple[str, float]:
        """As `harness.attempt.time_steps`."""
        return time_steps(load_workload, spec)


class Cluster:
    """An executor that fills a Ray cluster: its own on this machine, or the one at `address`.

    It connects when it is first needed: where nothing is left to run, no Ray is started.

    Args:
        load_workload: Gives the workload of a name, data directory and device; found by its
            module's name on every node.
        address: Of a running cluster; None starts one here and stops it in the end.
        cpus_per_trial: CPUs, and torch threads, of a trial.
        gpus_per_trial: GPUs of a trial, exclusively its own.
    """

    def __init__(
        self,
        load_workload: LoadWorkload,
        address: str | None = None,
        cpus_per_trial: int = 1,
        gpus_per_trial: int = 0,
    ) -> None:
        self._load_workload = load_workload
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
        """Runs every trial, all slots filled; a process that dies fails its own trial alone."""
        waiting = deque(specs)
        running: dict[Any, tuple[Any, TrialSpec]] = {}  # stream of events -> actor, spec
        try:
            while waiting or running:
                while waiting and len(running) < max(1, self.slots()):
                    spec = waiting.popleft()
                    actor = self._new_process()
                    running[self._stream(actor, spec)] = (actor, spec)
                ready, _ = ray.wait(list(running), num_returns=1)
                actor, spec = running[ready[0]]
                if self._take(ready[0], spec, driver):
                    ray.kill(actor)  # its CPUs are free only once it is gone
                    del running[ready[0]]
        finally:
            for actor, _ in running.values():
                ray.kill(actor)

    def _take(self, stream: Any, spec: TrialSpec, driver: Driver) -> bool:
        """Takes one event off a stream; returns whether it was the last."""
        try:
            kind, payload = ray.get(next(stream))
        except (RayError, StopIteration) as error:
            failure = Failure.WORKER_LOST
            if isinstance(error, OutOfMemoryError):
                failure = Failure.OOM
            driver.lost(spec, failure, _cause(error), str(error))
            return True
        if kind == "started":
            driver.started(spec, payload)
        elif kind == "row":
            driver.measured(spec, payload)
        elif kind == "ended":
            driver.ended(spec, payload)
        else:
            last_line = payload.strip().splitlines()[-1]
            driver.lost(spec, Failure.WORKER_LOST, last_line, payload)
        return kind in ("ended", "broken")

    def _new_process(self) -> Any:
        actor = ray.remote(TrialProcess).options(
            max_restarts=0, max_task_retries=0, **self._resources
        )
        return actor.remote()

    def _stream(self, actor: Any, spec: TrialSpec) -> Any:
        """Starts a trial; its process goes on from an event once it was taken off the stream."""
        run = actor.run.options(num_returns="streaming", _generator_backpressure_num_objects=1)
        return run.remote(self._load_workload, spec)

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
