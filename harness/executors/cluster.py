"""Runs trials on Ray, each attempt in fresh processes.

This file, `team.py` and `nodes.py` alone import ray. Imports no torch: a trial's
process sets its threads and devices first.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

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
from harness.executors.running import Outcome, Running
from harness.executors.taking import take
from harness.executors.team import Team, TrialResources
from harness.system import timers
from harness.system.signals import deferred_interrupt
from harness.trial.messages import Broken, Ended, Loaded, Started
from scoring.records import Failure, Status, TrialSpec

if TYPE_CHECKING:
    from harness.spec import LoadWorkload
    from harness.sweep.driver import Driver

_ROOM = TrialResources()
TURN_SECONDS = 1.0  # at most, before signals and silent processes are looked at


class Cluster:
    """An executor that fills a Ray cluster: its own on this machine, or the one at `address`.

    It connects when it is first needed: where nothing is left to run, no Ray is started.

    Args:
        load_workload: Gives the workload of a name, data directory and device; found by its
            module's name on every node.
        address: Of a running cluster; None starts one here and stops it in the end.
        room: What a trial takes.
        hang_timeout: Seconds without a step or an event after which an attempt is ended.
        max_concurrent: How many trials run at once, at most; None for as many as there is room for.
        announce: Receives a line about the cluster once it is connected.
    """

    def __init__(
        self,
        load_workload: LoadWorkload,
        address: str | None = None,
        room: TrialResources = _ROOM,
        hang_timeout: float = HANG_TIMEOUT,
        max_concurrent: int | None = None,
        announce: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._load_workload, self._announce = load_workload, announce
        self._address, self._room, self._hang_timeout = address, room, hang_timeout
        self._max_concurrent = max_concurrent
        self._connected = False
        self._code: dict[str, Any] = {}  # packed submissions, by folder
        self._nodes = LivingNodes(TURN_SECONDS)
        self._head = Head("", int)  # while trials run, the cluster's

    def connect(self) -> None:
        """Joins or starts the cluster, once.

        Raises:
            ClusterError: There is none, or it has no room for a trial.
        """
        if self._connected:
            return
        connect(self._address)
        self._connected = True
        if self.slots() < 1:
            self.close()
            raise ClusterError(
                f"no node of the cluster has room for a trial with {self._room}; "
                "see --cpus-per-trial and --gpus-per-trial"
            )
        nodes = living_nodes()
        self._announce(describe(nodes, self._slots(nodes)))

    def slots(self) -> int:
        """How many trials run at once: as many as fit on each living node."""
        self.connect()
        return self._slots(living_nodes())

    def _slots(self, nodes: Mapping[str, Mapping[str, float]]) -> int:
        room = sum(self._room.fits(resources) for resources in nodes.values())
        return room if self._max_concurrent is None else min(room, self._max_concurrent)

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Median seconds of a step of `spec` by node type, in as many processes as there are slots.

        All at once, so that they share each machine as the sweep's trials will.
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
        """Runs every trial, all slots filled; a process that dies harms its own trial alone.

        Raises:
            HeadLostError: The cluster is gone.
        """
        if not specs:
            return
        self.connect()
        waiting = list(specs)
        running: dict[Any, Running] = {}  # by stream of events
        self._head = Head(head_address(), lambda: driver.summary().left)
        try:
            with deferred_interrupt() as raise_if_interrupted, self._head:
                while waiting or running:
                    self._fill(waiting, running, driver)
                    self._listen(waiting, running, driver)
                    raise_if_interrupted()
                    self._head.raise_if_lost()
        finally:
            for attempt in running.values() if not self._head.is_lost else ():
                attempt.team.kill()

    def _fill(self, waiting: list[TrialSpec], running: dict[Any, Running], driver: Driver) -> None:
        """Begins trials while there is room; where no node is left, waits for one to join."""
        if not waiting or not self._head.answers():
            return
        slots = self._slots(nodes := self._nodes())
        while waiting and len(running) < slots:
            spec = driver.next(waiting, wait=bool(running))
            if spec is None:
                return
            team = self._team(spec, nodes, [attempt.team for attempt in running.values()])
            attempt = Running(team, spec, driver.deadline(spec))
            code = self._packed(spec)
            arguments = (self._load_workload, spec, code, driver.checkpoints(spec))
            running[team.run(*arguments, deadline=attempt.deadline)] = attempt

    def _team(
        self, spec: TrialSpec, nodes: Mapping[str, Mapping[str, float]], others: Sequence[Team]
    ) -> Team:
        """Fresh processes for a trial, on a node for themselves where they are to have one.

        Args:
            spec: The trial.
            nodes: Those alive; where a trial takes a whole one, one is free.
            others: The processes of other trials.
        """
        if not self._room.exclusive:
            return Team(spec, self._room, TrialProcess)
        taken = {team.node for team in others}
        node = next(n for n in nodes.items() if n[0] not in taken and self._room.fits(n[1]))
        return Team(spec, self._room, TrialProcess, node)

    def _packed(self, spec: TrialSpec) -> Any:
        """The submission's code, handed to the cluster once."""
        from harness.submission.shipping import pack

        folder = spec.submission_path
        if folder not in self._code:
            self._code[folder] = ray.put(pack(Path(folder)))
        return self._code[folder]

    def _listen(
        self, waiting: list[TrialSpec], running: dict[Any, Running], driver: Driver
    ) -> None:
        """Waits until something happens, and takes in what did."""
        if not running:
            if waiting:
                timers.sleep(TURN_SECONDS)
            return
        followers = {ref: s for s, attempt in running.items() for ref in attempt.team.followers}
        everybody = [*running, *followers]
        heard, _ = ray.wait(everybody, num_returns=1, timeout=TURN_SECONDS)
        if heard:  # then all that have something to say
            heard, _ = ray.wait(everybody, num_returns=len(everybody), timeout=0)
        outcomes: dict[Any, Outcome] = {}
        for ref in heard:
            stream = followers.get(ref, ref)
            take = self._take if ref is stream else self._take_follower
            outcomes[stream] = take(ref, running[stream], driver)
            if outcomes[stream] is not Outcome.RUNS:
                break  # its processes end, and its place is filled, before others are listened to
        listened = {followers.get(ref, ref) for ref in heard}
        for stream, attempt in running.items():
            if stream in listened:
                continue
            if silent := attempt.hangs(self._hang_timeout):
                driver.failed(attempt.spec, Failure.TIMEOUT, silent)
                outcomes[stream] = Outcome.DONE
            elif not attempt.began and (node := attempt.team.node) and self._is_gone(node):
                gone = ClusterError("its exclusive node left the cluster")
                outcomes[stream] = _lost(attempt.spec, gone, driver)
        for stream, outcome in outcomes.items():
            if outcome is Outcome.RUNS:
                self._hand_out_deadlines([running[stream]], driver)
                continue
            attempt = running.pop(stream)
            attempt.team.kill()
            if outcome is Outcome.AGAIN:
                waiting.append(attempt.spec)
        if Outcome.DONE in outcomes.values() or not heard:
            self._hand_out_deadlines(running.values(), driver)

    def _take(self, stream: Any, attempt: Running, driver: Driver) -> Outcome:
        """Takes one message off a stream."""
        spec = attempt.spec
        try:
            message = ray.get(next(stream))
        except (RayError, StopIteration) as error:
            return _lost(spec, error, driver)
        attempt.last_seen = timers.monotonic()
        match message:
            case Started(where=where):
                attempt.began = True
                driver.started(spec, where)
            case Ended(result=result):
                if result.status is Status.FAILED and (gone := attempt.team.dead()):
                    return _lost(spec, gone, driver)
                driver.ended(spec, result)
                forgotten = attempt.team.leader.forget.remote(driver.checkpoints(spec))
                ray.wait([forgotten], timeout=BEAT_SECONDS)
                return Outcome.DONE
            case Broken(traceback=text):  # not by the trial: what it runs on fails every time
                driver.failed(spec, Failure.WORKER_LOST, text.strip().splitlines()[-1], text)
                return Outcome.DONE
            case _:
                attempt.loaded = attempt.loaded or isinstance(message, Loaded)
                take(driver, spec, message)
        return Outcome.RUNS

    def _take_follower(self, follower: Any, attempt: Running, driver: Driver) -> Outcome:
        """Takes the end of another rank than 0; where it failed, rank 0 waits for it in vain."""
        spec = attempt.spec
        try:
            result = ray.get(follower)
        except RayTaskError as error:
            driver.failed(spec, Failure.WORKER_LOST, cause(error), str(error))
            return Outcome.DONE
        except RayError as error:
            return _lost(spec, error, driver)
        attempt.team.followers.remove(follower)
        if result.status is Status.FAILED:
            if gone := attempt.team.dead():
                return _lost(spec, gone, driver)
            driver.failed(spec, result.failure, result.message, result.traceback)
            return Outcome.DONE
        return Outcome.RUNS

    def _is_gone(self, node: str) -> bool:
        return self._head.answers() and node not in self._nodes()

    def _hand_out_deadlines(self, running: Iterable[Running], driver: Driver) -> None:
        """Tells trials under way where theirs has come nearer."""
        for attempt in running:
            deadline = driver.deadline(attempt.spec)
            if attempt.began and deadline < attempt.deadline:
                attempt.deadline = deadline
                attempt.team.leader.set_deadline.remote(deadline)

    def close(self) -> None:
        """Disconnects; a cluster that was started here stops."""
        if self._connected and not self._head.is_lost:
            ray.shutdown()
        self._connected = False


def _lost(spec: TrialSpec, error: Exception, driver: Driver) -> Outcome:
    """An attempt's process died."""
    failure = Failure.OOM if isinstance(error, OutOfMemoryError) else Failure.WORKER_LOST
    again = driver.lost(spec, failure, cause(error), str(error))
    return Outcome.AGAIN if again else Outcome.DONE
