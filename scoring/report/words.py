"""Formats times, names and values for the page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from scoring.cells import Cell
from scoring.report.terminal import format_number

Unit = tuple[float, str]
_UNITS: list[tuple[float, Unit]] = [  # the smallest number of seconds for each
    (2 * 3600, (3600.0, "h")),
    (120, (60.0, "min")),
    (0, (1.0, "s")),
]


def time_unit(fastest: float, clock: str) -> Unit:
    """Seconds per unit, and the unit, that suits all of a workload's times.

    Args:
        fastest: The fastest time in seconds; infinite if no submission reached the target.
        clock: "wall" or "steps"; on the step clock seconds are not converted.
    """
    if clock == "steps" or not math.isfinite(fastest):
        return 1.0, "s"
    return next(unit for least, unit in _UNITS if fastest >= least)


def short_seconds(cell: Cell, unit: Unit) -> str:
    """A cell's time as "19.5 h"; "> 3 h" if it was pruned, "∞" for a miss."""
    divisor, name = unit
    if cell.pruned:
        return f"> {format_number(cell.at_least / divisor)} {name}"
    if not math.isfinite(cell.seconds):
        return "∞"
    return f"{format_number(cell.seconds / divisor)} {name}"


def letters(number: int) -> str:
    """0 as "a", 25 as "z", 26 as "aa"."""
    head, place = divmod(number, 26)
    return (letters(head - 1) if head else "") + chr(ord("a") + place)


def slugs(names: Mapping[str, str]) -> dict[str, str]:
    """Makes a distinct part of an address from each name, by key.

    Args:
        names: The names by key.
    """
    taken: dict[str, str] = {}
    for key, name in names.items():
        slug = base = re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-") or "x"
        number = 1
        while slug in taken.values():
            number += 1
            slug = f"{base}-{number}"
        taken[key] = slug
    return taken


def plain(value: Any) -> str:
    """A value of experiment.json for readers: text unchanged, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
