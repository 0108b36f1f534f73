"""Finds schedules in a submission's state that are longer than every workload."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from scoring import rulesets

_LENGTH = re.compile(
    r"warm_?up|horizon|period|milestone|(?:^|_)t_|_t$|t_max|t_0|total|iters|steps|decay_(?:start|end)",
    re.IGNORECASE,
)

_COUNTERS = ("step", "k")  # of steps, in groups of the packages that submissions use


@cache
def longest_step_hint() -> int:
    """Returns the largest step hint of any workload."""
    hints = [
        rules.step_hint
        for name in rulesets.names()
        for rules in rulesets.load(name).workloads.values()
    ]
    return max(hint for hint in hints if hint is not None)


def too_long(state: Any, groups: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Returns the lengths in steps that exceed every step hint: name and value.

    Args:
        state: A submission's optimizer state, which is searched for schedulers.
        groups: The parameter groups of its optimizers.
    """
    found = dict.fromkeys(
        (name, value)
        for holder in [*groups, *map(vars, _schedulers(state))]
        for name, value in _numbers(holder)
        if longest_step_hint() < value < math.inf and _LENGTH.search(name)
    )
    return list(found)


def values(optimizers: Sequence[Any]) -> dict[str, tuple[float, ...]]:
    """Returns the values of the optimizers' numeric options, by name, without learning rates."""
    found: dict[str, tuple[float, ...]] = {}
    for optimizer in optimizers:
        made_with = getattr(optimizer, "defaults", {})
        for group in optimizer.param_groups:
            for name, value in _numbers(group):
                if name in made_with and name not in ("lr", *_COUNTERS):
                    found[name] = (*found.get(name, ()), value)
    return found


def still_changing(seen: Sequence[Mapping[str, tuple[float, ...]]]) -> list[str]:
    """Returns the names of options whose values differ between steps."""
    names = dict.fromkeys(name for step in seen for name in step)
    return [name for name in names if len({step.get(name) for step in seen}) > 1]


def _numbers(holder: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in holder.items():
        several = value if isinstance(value, (list, tuple)) and name != "params" else [value]
        for number in several:
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                yield str(name), float(number)


def _schedulers(state: Any) -> Iterator[Any]:
    """Yields the schedulers in an object: those with `optimizer` and `step`, and nested ones."""
    held = state.values() if isinstance(state, Mapping) else state
    if not isinstance(held, (list, tuple, type({}.values()))):
        held = [state]
    for thing in held:
        if isinstance(thing, (Mapping, list, tuple)):
            yield from _schedulers(thing)
        elif hasattr(thing, "optimizer") and hasattr(thing, "step"):
            yield thing
            yield from _schedulers(getattr(thing, "_schedulers", []))
