"""A priority queue of the trials that wait for a process."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, NamedTuple

from scoring.records import Order, TrialSpec

if TYPE_CHECKING:  # numpy must not be imported before a trial's process sets its threads
    from harness.sweep.pruner import Pruner


class Urgency(NamedTuple):
    """Sort key of a waiting trial, smallest first; equal for the fresh trials of a study.

    Parked trials come last, as results of others may make them unnecessary. Otherwise interrupted
    trials come first, then the chosen order decides.
    """

    parked: bool
    fresh: bool  # has not started before
    last: tuple[float, ...]


_Key = tuple[str, str, int, bool]  # submission, workload, study, fresh


@dataclass(slots=True)
class _Part:
    """Waiting trials whose urgency changes together.

    Attributes:
        version: The pruner's version when the heap was built; None if it must be built again.
        studies: Trials of equal urgency, each with its number in the queue, in that order.
        heap: The first trial of each study.
    """

    version: int | None = None
    studies: dict[_Key, deque[tuple[int, TrialSpec]]] = field(default_factory=dict)
    heap: list[tuple[Urgency, int, _Key]] = field(default_factory=list)


class TrialQueue:
    """Finds the trial to start next without a scan of all waiting trials.

    Trials of a study are equally urgent, and a result can only change the urgency of trials of its
    own part of the plan (`Pruner.part`). So there is a heap of studies per part, which is built
    again when the pruner's version of the part changes.

    Args:
        pruner: Gives ranks and parked trials; None without pruning.
        order: Order of the trials.
        attempts: Number of attempts started by trial: a waiting trial with any was interrupted.
    """

    def __init__(self, pruner: Pruner | None, order: Order, attempts: Mapping[str, int]) -> None:
        self._pruner, self._order, self._attempts = pruner, order, attempts
        self._parts: dict[int, _Part] = {}
        self._waiting: list[TrialSpec] = []  # the caller's list
        self._places: dict[str, int] = {}  # index in that list by trial
        self._count = 0

    def pop(self, waiting: list[TrialSpec], parked: bool) -> TrialSpec | None:
        """Removes the trial to start next from `waiting` and returns it; None if there is none.

        Args:
            waiting: All waiting trials, in any order; the caller may only append to it.
            parked: Whether a parked trial may be returned.
        """
        self._add_new(waiting)
        number = min(self._parts, key=self._first, default=None)
        if number is None or (self._first(number)[0].parked and not parked):
            return None
        spec = self._pop(number)
        place, last = self._places.pop(spec.key), waiting.pop()
        if last is not spec:  # move the last trial to the free index
            waiting[place] = last
            self._places[last.key] = place
        return spec

    def _add_new(self, waiting: list[TrialSpec]) -> None:
        """Adds the appended trials, each after those of equal urgency."""
        if waiting is not self._waiting:
            self._waiting = waiting
            self._parts.clear()
            self._places.clear()
        for place in range(len(self._places), len(waiting)):
            spec = waiting[place]
            self._places[spec.key] = place
            part = self._parts.setdefault(self._pruner.part(spec) if self._pruner else 0, _Part())
            key = spec.submission, spec.workload, spec.study, not self._attempts.get(spec.key)
            if key not in part.studies:
                part.studies[key] = deque()
                part.version = None
            part.studies[key].append((self._count, spec))
            self._count += 1

    def _pop(self, number: int) -> TrialSpec:
        """Removes the most urgent trial of a part from the queue."""
        part = self._parts[number]
        urgency, _, key = part.heap[0]
        study = part.studies[key]
        _, spec = study.popleft()
        if study:
            heapreplace(part.heap, (urgency, study[0][0], key))
        else:
            heappop(part.heap)
            del part.studies[key]
        if not part.studies:
            del self._parts[number]
        return spec

    def _first(self, number: int) -> tuple[Urgency, int, _Key]:
        """Returns the most urgent study of a part."""
        part = self._parts[number]
        version = self._pruner.version(number) if self._pruner else 0
        if part.version != version:
            part.heap = [
                (self._urgency(spec, key[-1]), first, key)
                for key, waiting in part.studies.items()
                for first, spec in [waiting[0]]
            ]
            heapify(part.heap)
            part.version = version
        return part.heap[0]

    def _urgency(self, spec: TrialSpec, fresh: bool) -> Urgency:
        last: tuple[float, ...] = (-spec.budget_seconds,)
        if self._pruner is not None and self._order is Order.COST:
            last = self._pruner.rank(spec)
        return Urgency(self._pruner is not None and self._pruner.is_parked(spec), fresh, last)
