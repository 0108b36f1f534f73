"""Runs trials on Ray, each attempt in fresh processes.

Only this file, `team.py` and `nodes.py` import ray. None of them imports torch: a trial's process
must set its threads and devices first.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from harness.executors.dispatch import dispatch
from harness.executors.head import Head
from harness.executors.nodes import (
    ClusterError,
    LivingNodes,
    cause,
    connect,
    describe,
    head_address,
    living_nodes,
)
from harness.executors.process import BEAT_SECONDS, HANG_TIMEOUT, TrialProcess
from harness.executors.remote_attempt import AttemptState, RemoteAttempt
from harness.executors.resources import TrialResources
from harness.executors.team import PackedSubmissions, Team
from harness.system import timers
from harness.system.signals import deferred_interrupt
from harness.trial.messages import Broken, Ended, Started
from scoring.records import Failure, Status, TrialSpec

if TYPE_CHECKING:
    from harness.spec import LoadWorkload
    from harness.sweep.driver import Driver

_ONE_CPU = TrialResources()
TURN_SECONDS = 1.0  # maximum time between checks for signals and silent processes


class Cluster:
    """An executor that uses all slots of a Ray cluster.

    It connects on first use, so Ray is not started if there is nothing to run.

    Args:
        load_workload: Returns a workload, like `workloads.get`; importable on every node.
        address: Address of a running cluster; None starts one on this machine, stopped by `close`.
        resources: Resources of a trial.
        hang_timeout: Seconds without a step or an event after which an attempt is stopped.
        max_concurrent: Maximum number of trials at once; None for as many as fit.
        announce: Receives a line that describes the cluster when it is connected.
    """

    def __init__(
        self,
        load_workload: LoadWorkload,
        address: str | None = None,
        resources: TrialResources = _ONE_CPU,
        hang_timeout: float = HANG_TIMEOUT,
        max_concurrent: int | None = None,
        announce: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._load_workload, self._announce = load_workload, announce
        self._address, self._resources, self._hang_timeout = address, resources, hang_timeout
        self._max_concurrent = max_concurrent
        self._connected = False
        self._code = PackedSubmissions()
        self._nodes = LivingNodes(TURN_SECONDS)
        self._head = Head("", int)  # replaced by the cluster's when trials run

    def connect(self) -> None:
        """Joins or starts the cluster, once.

        Raises:
            ClusterError: There is no cluster, or no node of it is large enough for a trial.
        """
        if self._connected:
            return
        connect(self._address)
        self._connected = True
        if self.slots() < 1:
            self.close()
            raise ClusterError(
                f"no node of the cluster has room for a trial with {self._resources}; "
                "see --cpus-per-trial and --gpus-per-trial"
            )
        nodes = living_nodes()
        self._announce(describe(nodes, self._slots(nodes)))

    def slots(self) -> int:
        """Returns the number of trials that run at once."""
        self.connect()
        return self._slots(living_nodes())

    def _slots(self, nodes: Mapping[str, Mapping[str, float]]) -> int:
        slots = sum(self._resources.fits(node) for node in nodes.values())
        return slots if self._max_concurrent is None else min(slots, self._max_concurrent)

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Returns the median step time of `spec` in seconds by node type.

        Uses all slots at once, so that processes share each machine as the sweep's trials will.
        """
        self.connect()
        nodes = living_nodes()
        teams: list[Team] = []
        for _ in range(self._slots(nodes)):
            teams.append(self._team(spec, nodes, teams))
        times = [team.time_steps(self._load_workload, spec) for team in teams]
        by_type: dict[str, list[float]] = {}
        try:
            for node_type, seconds in ray.get(times):
                by_type.setdefault(node_type, []).append(seconds)
        except RayError as error:
            raise ClusterError(f"the baseline's step cannot be timed: {cause(error)}") from None
        finally:
            for team in teams:
                team.kill()
        return {node_type: statistics.median(all_) for node_type, all_ in by_type.items()}

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs all trials in all slots; a process that dies only affects its own trial.

        Raises:
            HeadLostError: The cluster is lost.
        """
        if not specs:
            return
        self.connect()
        waiting = list(specs)
        running: dict[Any, RemoteAttempt] = {}  # by stream of messages
        self._head = Head(head_address(), lambda: driver.summary().left)
        try:
            with deferred_interrupt() as raise_if_interrupted, self._head:
                while waiting or running:
                    self._start_trials(waiting, running, driver)
                    self._handle_events(waiting, running, driver)
                    raise_if_interrupted()
                    self._head.raise_if_lost()
        finally:
            for attempt in running.values() if not self._head.is_lost else ():
                attempt.team.kill()

    def _start_trials(
        self, waiting: list[TrialSpec], running: dict[Any, RemoteAttempt], driver: Driver
    ) -> None:
        """Starts trials in all free slots."""
        if not waiting or not self._head.answers():
            return
        slots = self._slots(nodes := self._nodes())
        while waiting and len(running) < slots:
            spec = driver.next(waiting, wait=bool(running))
            if spec is None:
                return
            team = self._team(
                spec, nodes, [a.team for a in running.values()], driver.log_file(spec)
            )
            attempt = RemoteAttempt(team, spec, driver.deadline(spec))
            code = self._code.of(spec)
            arguments = (self._load_workload, spec, code, driver.checkpoints(spec))
            running[team.run(*arguments, deadline=attempt.deadline)] = attempt

    def _team(
        self, spec: TrialSpec, nodes: Mapping[str, Mapping[str, float]], others: Sequence[Team],
        log: Path | None = None,
    ) -> Team:  # fmt: skip
        """Starts fresh processes for a trial, on an exclusive node if it needs one.

        Args:
            spec: Trial.
            nodes: Living nodes; one of them must be free if the trial needs an exclusive node.
            others: Processes of other trials.
            log: File for their debug logs; None to write none.
        """
        taken = {team.node for team in others}
        free = (n for n in nodes.items() if n[0] not in taken and self._resources.fits(n[1]))
        node = next(free) if self._resources.exclusive else None
        return Team(spec, self._resources, TrialProcess, node, log)

    def _handle_events(
        self, waiting: list[TrialSpec], running: dict[Any, RemoteAttempt], driver: Driver
    ) -> None:
        """Waits for messages and handles them; stops attempts that hang or lost their node."""
        if not running:
            if waiting:
                timers.sleep(TURN_SECONDS)
            return
        followers = {ref: s for s, attempt in running.items() for ref in attempt.team.followers}
        refs = [*running, *followers]
        ready, _ = ray.wait(refs, num_returns=1, timeout=TURN_SECONDS)
        if ready:  # get all others that are ready too
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        states: dict[Any, AttemptState] = {}
        for ref in ready:
            stream = followers.get(ref, ref)
            handle = self._handle_message if ref is stream else self._handle_follower
            states[stream] = handle(ref, running[stream], driver)
            if states[stream] is not AttemptState.RUNNING:
                break  # first stop its processes and fill its slot
        handled = {followers.get(ref, ref) for ref in ready}
        for stream, attempt in running.items():
            if stream in handled:
                continue
            if silent := attempt.hangs(self._hang_timeout):
                driver.failed(attempt.spec, Failure.TIMEOUT, silent)
                states[stream] = AttemptState.DONE
            elif not attempt.started and (node := attempt.team.node) and self._is_gone(node):
                gone = ClusterError("its exclusive node left the cluster")
                states[stream] = _lost(attempt.spec, gone, driver)
        for stream, state in states.items():
            if state is AttemptState.RUNNING:
                self._send_deadlines([running[stream]], driver)
                continue
            attempt = running.pop(stream)
            attempt.team.kill()
            if state is AttemptState.RETRY:
                waiting.append(attempt.spec)
        if AttemptState.DONE in states.values() or not ready:
            self._send_deadlines(running.values(), driver)

    def _handle_message(self, stream: Any, attempt: RemoteAttempt, driver: Driver) -> AttemptState:
        """Handles the next message of a stream."""
        spec = attempt.spec
        try:
            message = ray.get(next(stream))
        except (RayError, StopIteration) as error:
            return _lost(spec, error, driver)
        attempt.received(message)
        match message:
            case Started(where=where):
                attempt.started = True
                driver.started(spec, where)
            case Ended(result=result):
                if result.status is Status.FAILED and (gone := attempt.team.dead()):
                    return _lost(spec, gone, driver)
                driver.ended(spec, result)
                forgotten = attempt.team.leader.forget.remote(driver.checkpoints(spec))
                ray.wait([forgotten], timeout=BEAT_SECONDS)
                return AttemptState.DONE
            case Broken(traceback=text):  # not the trial's fault, but would fail again
                driver.failed(spec, Failure.WORKER_LOST, text.strip().rpartition("\n")[2], text)
                return AttemptState.DONE
            case _:
                dispatch(driver, spec, message)
        return AttemptState.RUNNING

    def _handle_follower(
        self, follower: Any, attempt: RemoteAttempt, driver: Driver
    ) -> AttemptState:
        """Handles the end of a rank other than 0; if it failed, stops the attempt."""
        spec = attempt.spec
        try:
            result = ray.get(follower)
        except RayTaskError as error:
            driver.failed(spec, Failure.WORKER_LOST, cause(error), str(error))
            return AttemptState.DONE
        except RayError as error:
            return _lost(spec, error, driver)
        attempt.team.followers.remove(follower)
        if result.status is Status.FAILED:
            if gone := attempt.team.dead():
                return _lost(spec, gone, driver)
            driver.failed(spec, result.failure, result.message, result.traceback)
            return AttemptState.DONE
        return AttemptState.RUNNING

    def _is_gone(self, node: str) -> bool:
        return self._head.answers() and node not in self._nodes()

    def _send_deadlines(self, running: Iterable[RemoteAttempt], driver: Driver) -> None:
        """Sends running trials their deadlines, where they have decreased."""
        for attempt in running:
            deadline = driver.deadline(attempt.spec)
            if attempt.started and deadline < attempt.deadline:
                attempt.deadline = deadline
                attempt.team.leader.set_deadline.remote(deadline)

    def close(self) -> None:
        """Disconnects from the cluster; stops it if it was started here."""
        if self._connected and not self._head.is_lost:
            ray.shutdown()
        self._connected = False


def _lost(spec: TrialSpec, error: Exception, driver: Driver) -> AttemptState:
    """Reports to the driver that an attempt's process died."""
    failure = Failure.OOM if isinstance(error, OutOfMemoryError) else Failure.WORKER_LOST
    again = driver.lost(spec, failure, cause(error), str(error))
    return AttemptState.RETRY if again else AttemptState.DONE
