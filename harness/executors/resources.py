"""The resources of a trial, and how many trials fit on a node. Does not import ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scoring.records import RunOptions


@dataclass(frozen=True, slots=True)
class TrialResources:
    """Resources of a trial on a node.

    Attributes:
        processes: Number of processes that train together.
        cpus: CPUs per process.
        gpus: GPUs per process, not shared with others.
        exclusive: Whether no other trial may run on the node at the same time.
    """

    processes: int = 1
    cpus: int = 1
    gpus: int = 0
    exclusive: bool = False

    @classmethod
    def of(cls, options: RunOptions, exclusive: bool = False) -> TrialResources:
        """Returns the resources of trials with these options: one process per GPU."""
        gpus = min(options.gpus_per_trial, 1)
        return cls(options.processes, options.cpus_per_trial, gpus, exclusive)

    def fits(self, resources: Mapping[str, float]) -> int:
        """Returns how many trials fit on a node."""
        slots = [resources.get("CPU", 0) // (self.cpus * self.processes)]
        if self.gpus:
            slots.append(resources.get("GPU", 0) // (self.gpus * self.processes))
        return min(1, int(min(slots))) if self.exclusive else int(min(slots))

    def bundle(self, node: Mapping[str, float]) -> Mapping[str, float]:
        """Returns what is reserved per process: what it uses, or its share of an exclusive node."""
        if not self.exclusive:
            return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})
        everything = {name: node[name] for name in ("CPU", "GPU") if name in node}
        return {name: amount / self.processes for name, amount in everything.items()}

    def __str__(self) -> str:
        return f"{self.cpus * self.processes} CPUs and {self.gpus * self.processes} GPUs"
