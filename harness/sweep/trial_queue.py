"""The trials of a sweep that wait for a process, in the order in which they begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, NamedTuple

from scoring.records import Order, TrialSpec

if TYPE_CHECKING:  # the plan imports torch, which a trial's process must not do too early
    from harness.sweep.pruner import Pruner


class Urgency(NamedTuple):
    """What the order goes by, the smallest first; equal for the fresh trials of a study.

    A parked trial is for the end: what others find may make it needless. Else one that was cut off
    goes first, then it is as the order has it.
    """

    parked: bool
    fresh: bool  # it was not cut off
    last: tuple[float, ...]


_Key = tuple[str, str, int, bool]  # submission, workload, study, fresh


@dataclass(slots=True)
class _Part:
    """The waiting trials of which the urgency may change at the same time.

    Attributes:
        version: Of the pruner, when the heap was made; None where it is out of date.
        studies: Trials of equal urgency, each with its number in the queue, in that order.
        heap: The first of each of them.
    """

    version: int | None = None
    studies: dict[_Key, deque[tuple[int, TrialSpec]]] = field(default_factory=dict)
    heap: list[tuple[Urgency, int, _Key]] = field(default_factory=list)


class TrialQueue:
    """Says which trial begins next, without looking at all that wait.

    Trials of a study are equally urgent, and what one trial has found changes the urgency of those
    of its own workload alone (`Pruner.part`), if at all. So there is a heap of studies for each
    such part of the plan, which is made again when the pruner has come to another result.

    Args:
        pruner: What is known; None where nothing is pruned.
        order: As in `Order`.
        begun: How often each trial has begun: one that waits again was cut off.
    """

    def __init__(self, pruner: Pruner | None, order: Order, begun: Mapping[str, int]) -> None:
        self._pruner, self._order, self._begun = pruner, order, begun
        self._parts: dict[int, _Part] = {}
        self._waiting: list[TrialSpec] = []  # the caller's
        self._places: dict[str, int] = {}  # of the trials in that list
        self._count = 0

    def pop(self, waiting: list[TrialSpec], parked: bool) -> TrialSpec | None:
        """Takes the trial to begin next off those that wait; None where there is none.

        Args:
            waiting: All that wait, in any order; the caller only appends to it.
            parked: Whether it may be one that is for the end.
        """
        self._add_new(waiting)
        number = min(self._parts, key=self._first, default=None)
        if number is None or (self._first(number)[0].parked and not parked):
            return None
        spec = self._pop(number)
        place, last = self._places.pop(spec.key), waiting.pop()
        if last is not spec:  # the last one takes its place
            waiting[place] = last
            self._places[last.key] = place
        return spec

    def _add_new(self, waiting: list[TrialSpec]) -> None:
        """Adds what was appended; among equally urgent trials it comes last."""
        if waiting is not self._waiting:
            self._waiting = waiting
            self._parts.clear()
            self._places.clear()
        for place in range(len(self._places), len(waiting)):
            spec = waiting[place]
            self._places[spec.key] = place
            part = self._parts.setdefault(self._pruner.part(spec) if self._pruner else 0, _Part())
            key = spec.submission, spec.workload, spec.study, not self._begun.get(spec.key)
            if key not in part.studies:
                part.studies[key] = deque()
                part.version = None
            part.studies[key].append((self._count, spec))
            self._count += 1

    def _pop(self, number: int) -> TrialSpec:
        """Takes out the most urgent trial of a part."""
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
        """The most urgent of a part's studies."""
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
