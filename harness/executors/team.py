"""The processes of one attempt on Ray: alone, or a rank for each GPU, side by side on one node."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from harness.executors.nodes import node_id
from harness.executors.process import BEAT_SECONDS, TrialProcess
from scoring.records import RunOptions, TrialSpec


@dataclass(frozen=True, slots=True)
class TrialResources:
    """What a trial takes of a node.

    Attributes:
        processes: That train together.
        cpus: Of each.
        gpus: Of each, exclusively its own.
        exclusive: Whether nothing else may run on the node meanwhile.
    """

    processes: int = 1
    cpus: int = 1
    gpus: int = 0
    exclusive: bool = False

    @classmethod
    def of(cls, options: RunOptions, exclusive: bool = False) -> TrialResources:
        """What trials that are run in this way take: a process for each GPU."""
        gpus = min(options.gpus_per_trial, 1)
        return cls(options.processes, options.cpus_per_trial, gpus, exclusive)

    def fits(self, resources: Mapping[str, float]) -> int:
        """How many trials a node has room for."""
        rooms = [resources.get("CPU", 0) // (self.cpus * self.processes)]
        if self.gpus:
            rooms.append(resources.get("GPU", 0) // (self.gpus * self.processes))
        return min(1, int(min(rooms))) if self.exclusive else int(min(rooms))

    def bundle(self, node: Mapping[str, float]) -> Mapping[str, float]:
        """What is reserved for each process: what it uses, or its part of an exclusive node."""
        if not self.exclusive:
            return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})
        whole = {name: node[name] for name in ("CPU", "GPU") if name in node}
        return {name: have / self.processes for name, have in whole.items()}

    def __str__(self) -> str:
        return f"{self.cpus * self.processes} CPUs and {self.gpus * self.processes} GPUs"


@functools.cache
def _actor_class(process: type) -> Any:
    """Ray's class for a class of processes, made once: the head keeps each one that is made."""
    return ray.remote(process)


class Team:
    """Fresh processes, one for each rank.

    Args:
        spec: The trial.
        room: What it takes.
        process: The class of the processes.
        node: Name and resources of the node that it has for itself, where it is to have one.

    Attributes:
        leader: Rank 0, which reports for all.
        followers: What the other ranks' work will give, once it was started.
        node: Name of the node that it has for itself; None where it shares one.
    """

    def __init__(
        self,
        spec: TrialSpec,
        room: TrialResources,
        process: type = TrialProcess,
        node: tuple[str, Mapping[str, float]] | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "num_cpus": room.cpus, "num_gpus": room.gpus, "max_restarts": 0, "max_task_retries": 0,
            "max_concurrency": 2,  # it answers while it trains
        }  # fmt: skip
        self._group = self._rendezvous = None
        self.node = node[0] if node else None
        if room.processes > 1 or room.exclusive:
            bundles = [room.bundle(node[1] if node else {})] * room.processes
            there = [{"ray.io/node-id": self.node}] * room.processes if self.node else None
            self._group = placement_group(
                bundles, strategy="STRICT_PACK", bundle_label_selector=there
            )
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group)
        actor = _actor_class(process).options(**options)
        self._actors: list[Any] = [actor.remote(rank, node_id) for rank in range(room.processes)]
        self.leader = self._actors[0]
        self.followers: list[Any] = []
        if room.processes > 1:
            gpus = [actor.gpus.remote() for actor in self._actors]
            self._rendezvous = self.leader.meet.remote(spec, *gpus)

    def run(self, *arguments: Any, deadline: float) -> Any:
        """Starts an attempt; returns the leader's events.

        It goes on from an event once that was taken off the stream.

        Args:
            arguments: As of `TrialProcess.follow`.
            deadline: Past which the trial matters no more.
        """
        self.followers = [a.follow.remote(*arguments, self._rendezvous) for a in self._actors[1:]]
        options = {"num_returns": "streaming", "_generator_backpressure_num_objects": 1}
        return self.leader.run.options(**options).remote(*arguments, deadline, self._rendezvous)

    def time_steps(self, *arguments: Any) -> Any:
        """Starts to time steps; returns what the leader's will give."""
        times = [actor.time_steps.remote(*arguments, self._rendezvous) for actor in self._actors]
        self.followers = times[1:]
        return times[0]

    def dead(self) -> RayError | None:
        """Why a process is gone, if one is: the others then fail, who talk to it, but for nothing.

        None for a team of one, whose end is its own.
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
        """Ends the processes; what they were given is free only then."""
        for actor in self._actors:
            ray.kill(actor)
        if self._group is not None:
            remove_placement_group(self._group)
