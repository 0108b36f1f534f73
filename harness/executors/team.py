"""The processes of one attempt on Ray: one, or one per GPU on the same node."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from harness.executors.nodes import node_id
from harness.executors.process import BEAT_SECONDS, TrialProcess
from harness.executors.resources import TrialResources as TrialResources
from harness.system import debug_log
from scoring.records import TrialSpec

_log = debug_log.logger("executors")


class PackedSubmissions:
    """The code of submissions in Ray's store, each packed once."""

    def __init__(self) -> None:
        self._references: dict[str, Any] = {}  # by folder

    def of(self, spec: TrialSpec) -> Any:
        """Returns Ray's reference to the packed code of a trial's submission."""
        from harness.submission.shipping import pack

        folder = spec.submission_path
        if folder not in self._references:
            self._references[folder] = ray.put(pack(Path(folder)))
        return self._references[folder]


@functools.cache
def _actor_class(process: type) -> Any:
    """Returns Ray's actor class, created once, as the head keeps each one that is created."""
    return ray.remote(process)


class Team:
    """Fresh processes, one per rank.

    Args:
        spec: Trial.
        resources: Resources of the trial.
        process: Class of the processes.
        node: Id and resources of its exclusive node; None to share one.
        log: File for the debug log of rank 0, beside those of the others; None to write none.

    Attributes:
        leader: Rank 0, which sends the messages.
        followers: References to the results of the other ranks, once they are started.
        node: Id of its exclusive node; None if it shares one.
    """

    def __init__(
        self,
        spec: TrialSpec,
        resources: TrialResources,
        process: type = TrialProcess,
        node: tuple[str, Mapping[str, float]] | None = None,
        log: Path | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "num_cpus": resources.cpus, "num_gpus": resources.gpus,
            "max_restarts": 0, "max_task_retries": 0,
            "max_concurrency": 2,  # it answers calls while it trains
        }  # fmt: skip
        self._group = self._rendezvous = None
        self.node = node[0] if node else None
        if resources.processes > 1 or resources.exclusive:
            bundles = [resources.bundle(node[1] if node else {})] * resources.processes
            labels = [{"ray.io/node-id": self.node}] * resources.processes if self.node else None
            self._group = placement_group(
                bundles, strategy="STRICT_PACK", bundle_label_selector=labels
            )
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group)
        actor = _actor_class(process).options(**options)
        self._actors: list[Any] = [
            actor.remote(rank, node_id, log) for rank in range(resources.processes)
        ]
        self.leader = self._actors[0]
        _log.debug("%s: %d processes, node %s", spec.key, resources.processes, self.node or "any")
        self.followers: list[Any] = []
        if resources.processes > 1:
            gpus = [actor.gpus.remote() for actor in self._actors]
            self._rendezvous = self.leader.open_rendezvous.remote(spec, *gpus)

    def run(self, *arguments: Any, deadline: float) -> Any:
        """Starts an attempt; returns the leader's stream of messages.

        The attempt waits at each message until it is read from the stream.

        Args:
            arguments: Arguments of `TrialProcess.follow`.
            deadline: Second of the trial's clock after which it is stopped.
        """
        self.followers = [a.follow.remote(*arguments, self._rendezvous) for a in self._actors[1:]]
        options = {"num_returns": "streaming", "_generator_backpressure_num_objects": 1}
        return self.leader.run.options(**options).remote(*arguments, deadline, self._rendezvous)

    def time_steps(self, *arguments: Any) -> Any:
        """Starts to time steps; returns a reference to the leader's result."""
        times = [actor.time_steps.remote(*arguments, self._rendezvous) for actor in self._actors]
        self.followers = times[1:]
        return times[0]

    def dead(self) -> RayError | None:
        """Returns the error of a dead process, the true cause if other ranks fail in turn.

        None if all processes are alive, or if there is only one.
        """
        if len(self._actors) == 1:
            return None
        calls = [actor.gpus.remote() for actor in self._actors]
        answers, _ = ray.wait(calls, num_returns=len(calls), timeout=BEAT_SECONDS)
        for answer in answers:
            try:
                ray.get(answer)
            except RayError as error:
                return error
        return None

    def kill(self) -> None:
        """Kills the processes and frees their resources."""
        for actor in self._actors:
            ray.kill(actor)
        if self._group is not None:
            remove_placement_group(self._group)
