"""Reads tuning_search_space.json and samples hyperparameter points.

Three forms, as in AlgoPerf::

    [{"learning_rate": 1e-3, "beta2": 0.99}, ...]                   points, used in order
    {"learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"},
     "beta2": {"feasible_points": [0.99, 0.999]}}                   sampled, in any mixture

A dict is sampled from a scrambled Halton sequence, so that the same seed gives the same points in
the same order everywhere.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import math
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.files import load_json
from scoring.records import UserError

Point = dict[str, Any]
MAX_NAMES = 1000  # hyperparameters; more are a mistake, and would take minutes to sample


class SearchSpaceError(UserError):
    """A search space is malformed; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A validated search space.

    Attributes:
        path: The file that it was read from, for messages.
        space: A list of points, or a dict from names to ranges or feasible points.
    """

    path: Path
    space: list[Point] | dict[str, dict[str, Any]]

    @property
    def names(self) -> list[str]:
        """The hyperparameters."""
        return list(self.space[0] if isinstance(self.space, list) else self.space)

    def points(self, seed: int, studies: int, trials: int) -> list[list[Point]]:
        """Returns the points of every study: `points(...)[k][n - 1]` is that of study k, trial n.

        If the search space is a list, trial n of every study has its n-th point. Otherwise study k,
        trial n is element k * trials + n - 1 of one scrambled Halton sequence (Owen 2017), seeded
        with `seed` and the content of the search space. Studies are thus disjoint, and all
        workloads have the same points.

        Args:
            seed: Seed for sampling hyperparameter points.
            studies: Number of studies.
            trials: Number of trials per study.

        Raises:
            SearchSpaceError: A list has fewer points than there are trials.
        """
        if isinstance(self.space, list):
            if len(self.space) < trials:
                raise SearchSpaceError(
                    f"{self.path}: lists {len(self.space)} points, but {trials} trials per study "
                    f"are asked for; add points, or ask for at most {len(self.space)} trials"
                )
            return [self.space[:trials]] * studies
        import numpy as np
        from scipy.stats import qmc  # half a second to import

        content = json.dumps(self.space, sort_keys=True).encode()
        digest = int.from_bytes(hashlib.sha256(content).digest())
        rng = np.random.default_rng(np.random.SeedSequence([seed, digest]))
        names = sorted(self.space)
        units = qmc.Halton(len(names), scramble=True, rng=rng).random(studies * trials)
        points = [
            {name: _scale(self.space[name], unit[names.index(name)]) for name in self.space}
            for unit in units
        ]
        return [points[k * trials : (k + 1) * trials] for k in range(studies)]


def load(path: Path) -> SearchSpace:
    """Reads and validates a search space.

    Raises:
        SearchSpaceError: The file is missing, cannot be read, is not JSON that `scoring.files`
            accepts, or has none of the three forms.
    """
    try:
        space = load_json(path)
    except FileNotFoundError:
        raise SearchSpaceError(
            f"{path}: no such file; external tuning needs one, or pass --tuning self"
        ) from None
    except json.JSONDecodeError as error:
        raise SearchSpaceError(f"{path}: not valid JSON ({error})") from None
    except (OSError, ValueError) as error:
        raise SearchSpaceError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(space, (list, dict)) or not space:
        raise SearchSpaceError(
            f"{path}: must be a non-empty list of points or object of ranges; "
            f"got {type(space).__name__} {json.dumps(space)[:40]}"
        )
    if isinstance(space, list):
        _check_points(path, space)
    else:
        _check_number(str(path), space)
        for name, domain in space.items():
            _check_name(str(path), name)
            _check_domain(f"{path}: {name}", domain)
    return SearchSpace(path, space)


def _check_points(path: Path, points: list[Any]) -> None:
    for index, point in enumerate(points):
        if not isinstance(point, dict) or not point:
            raise SearchSpaceError(f"{path}: point {index} must be a non-empty object")
        if point.keys() != points[0].keys():
            odd = sorted(point.keys() ^ points[0].keys())
            shown = ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "")
            raise SearchSpaceError(f"{path}: point {index} and point 0 differ in the keys: {shown}")
        check_point(f"{path}: point {index}", point)


def check_point(where: str, point: Point) -> None:
    """Raises SearchSpaceError unless `point` maps names to finite numbers, strings or booleans."""
    _check_number(where, point)
    for name, value in point.items():
        _check_name(where, name)
        for item in value if isinstance(value, list) else [value]:  # such as Adam's two betas
            _check_value(f"{where}: {name}", item)


def _check_number(where: str, names: Collection[str]) -> None:
    if len(names) > MAX_NAMES:
        raise SearchSpaceError(
            f"{where}: has {len(names):,} hyperparameters; the maximum is {MAX_NAMES:,}"
        )


def _check_domain(where: str, domain: Any) -> None:
    if not isinstance(domain, dict):
        raise SearchSpaceError(f"{where}: must be an object with feasible_points, or min and max")
    if "feasible_points" in domain:
        if domain.keys() != {"feasible_points"}:
            odd = ", ".join(sorted(domain.keys() - {"feasible_points"}))
            raise SearchSpaceError(f"{where}: unknown key next to feasible_points: {odd}")
        values = domain["feasible_points"]
        if not isinstance(values, list) or not values:
            raise SearchSpaceError(f"{where}: feasible_points must be a non-empty list")
        for value in values:
            _check_value(f"{where}: feasible_points", value)
        return
    if domain.keys() != {"min", "max", "scaling"}:
        raise SearchSpaceError(
            f"{where}: must have the keys min, max and scaling (or feasible_points alone); "
            f"it has {', '.join(sorted(domain)) or 'none'}"
        )
    low, high, scaling = domain["min"], domain["max"], domain["scaling"]
    if scaling not in ("linear", "log"):
        raise SearchSpaceError(f"{where}: unknown scaling {scaling!r}; use 'linear' or 'log'")
    for key, bound in (("min", low), ("max", high)):
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or math.isinf(bound):
            raise SearchSpaceError(f"{where}: {key} must be a finite number, got {bound!r}")
        if scaling == "log" and not bound > 0:
            raise SearchSpaceError(f"{where}: {key} must be positive on a log scale, got {bound}")
    if not low <= high:
        raise SearchSpaceError(f"{where}: min {low} is greater than max {high}")


def _check_name(where: str, name: str) -> None:
    """Raises SearchSpaceError unless a hyperparameter's name can be the field of a namedtuple."""
    fits = name.isidentifier() and not name.startswith("_") and not keyword.iskeyword(name)
    if not fits or unicodedata.normalize("NFKC", name) != name:  # Python would normalise the name
        raise SearchSpaceError(
            f"{where}: {name[:40]!a} cannot be the name of a hyperparameter; use a-z, 0-9 and _"
        )


def _check_value(where: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise SearchSpaceError(f"{where}: must be finite, got {value}")
    if value is not None and not isinstance(value, (bool, int, float, str)):
        shown = repr(value)[:40]
        raise SearchSpaceError(f"{where}: must be a number, string or boolean, got {shown}")


def _scale(domain: dict[str, Any], unit: float) -> Any:
    """Maps `unit` in [0, 1) to a domain: log min * (max / min)^u, linear min + u * (max - min)."""
    if "feasible_points" in domain:
        values = domain["feasible_points"]
        return values[min(int(unit * len(values)), len(values) - 1)]
    low, high = float(domain["min"]), float(domain["max"])
    if domain["scaling"] == "log":
        scaled = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        scaled = low + unit * (high - low)
    return min(max(scaled, low), high)
