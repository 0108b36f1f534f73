"""Finds the winning hyperparameters, and whether the search space should have been wider."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.files import load_json
from scoring.leaderboard import Leaderboard
from scoring.reading.results import Submission, Trial

_NEAR_END = 0.05  # of a range, in its scale: a point this close to an end is on the edge
_FEW = 3  # values: of fewer, every one would be on the edge


@dataclass(frozen=True, slots=True)
class Winner:
    """The fastest trial of a submission on a workload.

    Attributes:
        trial: The trial, from any study.
        point: Its hyperparameters.
        edges: Those on the edge of the search space, in words.
    """

    trial: Trial
    point: dict[str, Any]
    edges: list[str]


Winners = Mapping[tuple[str, str], Winner]  # by submission and workload


def winners(board: Leaderboard) -> dict[tuple[str, str], Winner]:
    """The winning trial of every submission and workload on which the target was met in time."""
    points: dict[str, list[tuple[Trial, dict[str, Any]]]] = {}
    for trial in board.results.trials:
        points.setdefault(trial.submission, []).append((trial, trial.hyperparameters))
    spaces = {}
    for name, source in board.results.submissions.items():
        tried = [point for _, point in points.get(name, [])]
        spaces[name] = _Space.of(_file_of(source), tried)
    found = {}
    for standing in board.standings:
        for workload, cell in standing.cells.items():
            met = [trial for trial in cell.counted if trial is not None and trial.hit is not None]
            if met:
                best = min(met, key=lambda trial: trial.hit.submission_seconds)  # type: ignore[union-attr]
                point = best.hyperparameters
                edges = spaces[standing.name].edges(point)
                found[standing.name, workload] = Winner(best, point, edges)
    return found


def as_number(value: Any) -> float | None:
    """A hyperparameter as a number, or None if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _file_of(source: Submission) -> Path | None:
    """The search-space file of a submission; None if it is unknown or no longer there."""
    folder, name = Path(source.facts.get("path", "")), source.facts.get("search_space", "")
    for place in (folder / name, folder.parent / name):  # AlgoPerf: one folder above the code
        with suppress(OSError):  # the name is too long, or the folder may not be read
            if place.is_absolute() and place.is_file():
                return place
    return None


@dataclass(frozen=True, slots=True)
class _Space:
    """A search space: ranges and values by name, or else the values that were tried."""

    ranges: Mapping[str, tuple[float, float, bool]]  # from, to, on a logarithmic scale
    values: Mapping[str, Sequence[float]]
    what: str

    @classmethod
    def of(cls, file: Path | None, tried: Sequence[Mapping[str, Any]]) -> _Space:
        """The submission's search space if its file is still there and contains what was tried."""
        if file is not None:
            try:
                space = cls._read(load_json(file))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                space = None
            if space is not None and all(space._holds(point) for point in tried):
                return space
        return cls({}, _by_name(tried), "of the values tried")

    @classmethod
    def _read(cls, data: Any) -> _Space:
        if isinstance(data, list):
            return cls({}, _by_name(data), "of the search space")
        ranges = {
            name: (float(given["min"]), float(given["max"]), given.get("scaling") == "log")
            for name, given in data.items()
            if "min" in given
        }
        listed = [
            {name: value}
            for name, given in data.items()
            for value in given.get("feasible_points", ())
        ]
        return cls(ranges, _by_name(listed), "of the search space")

    def _holds(self, point: Mapping[str, Any]) -> bool:
        """Whether a point is in this space; if not, the file is not the one that was used."""
        for name, value in point.items():
            number = as_number(value)
            if number is None:
                continue
            low, high, _ = self.ranges.get(name, (math.inf, -math.inf, False))
            near = any(math.isclose(number, other) for other in self.values.get(name, ()))
            if not near and not low * (1 - 1e-9) <= number <= high * (1 + 1e-9):
                return False
        return True

    def edges(self, point: Mapping[str, Any]) -> list[str]:
        """Describes the hyperparameters of a point that are on the edge."""
        found = []
        for name, value in point.items():
            number = as_number(value)
            end = None if number is None else self._end(name, number)
            if end is not None:
                found.append(f"{name} {number:.6g} is {end} {self.what}")
        return found

    def _end(self, name: str, value: float) -> str | None:
        values = self.values.get(name, ())
        if len(values) >= _FEW and value in (values[0], values[-1]):
            return "the lowest" if value == values[0] else "the highest"
        if name not in self.ranges:
            return None
        low, high, logarithmic = self.ranges[name]
        if logarithmic and low > 0 and value > 0:
            low, high, value = math.log(low), math.log(high), math.log(value)
        if high <= low:
            return None
        place = (value - low) / (high - low)
        if _NEAR_END < place < 1 - _NEAR_END:
            return None
        return "at the lower end" if place <= _NEAR_END else "at the upper end"


def _by_name(points: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The distinct numbers of every hyperparameter, in ascending order."""
    found: dict[str, set[float]] = {}
    for point in points:
        for name, value in point.items():
            number = as_number(value)
            if number is not None:
                found.setdefault(name, set()).add(number)
    return {name: sorted(values) for name, values in found.items()}
