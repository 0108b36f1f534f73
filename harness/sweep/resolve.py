"""Resolves the submissions of a request: their paths, tuning and given hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.submission import loading
from harness.submission.files import mentions, runs_on
from harness.submission.search_space import load as load_search_space
from harness.sweep.plan import PlanError


def places_of(
    names: Sequence[str], tuning: str | None, workloads: Sequence[str]
) -> dict[str, Path]:
    """Returns the paths of submissions by name.

    Raises:
        PlanError: A name is not unique, or a submission says that it cannot train a workload.
    """
    places: dict[str, Path] = {}
    for given in names:
        place = loading.find(given, tuning)
        name = loading.name_of(place)
        other = places.setdefault(name, place)
        if other != place:
            raise PlanError(
                f"two submissions are called {name}: {other} and {place}; rename one, or run "
                "separate sweeps with different --out"
            )
        _check_workloads(place, workloads)
    return places


def default_tuning(places: Mapping[str, Path], search_space: str) -> str:
    """Returns "external" if the submissions have search spaces, "self" if none has one."""
    has_space = {
        name: loading.search_space_of(place, search_space).is_file()
        for name, place in places.items()
    }
    if len(set(has_space.values())) > 1:
        external = ", ".join(name for name, has in has_space.items() if has)
        self_tuning = ", ".join(name for name, has in has_space.items() if not has)
        raise PlanError(
            f"mixed tuning: with a search space: {external}; without (self-tuning): {self_tuning}; "
            "run separate sweeps with different --out, or pass --tuning"
        )
    return "external" if all(has_space.values()) else "self"


def _check_workloads(place: Path, workloads: Sequence[str]) -> None:
    """Raises PlanError if a submission says that it cannot train one of these workloads."""
    suited = runs_on(place)
    for workload in workloads:
        if suited is not None and workload not in suited.workloads:
            raise PlanError(suited.refusal(loading.name_of(place), workload))


def check_names(place: Path, search_space: str, point: Mapping[str, Any]) -> None:
    """Raises PlanError for unknown or missing hyperparameters of a submission.

    Known are those of its search space, and others that its code mentions.
    """
    file = loading.search_space_of(place, search_space)
    if not file.is_file():
        return
    known = load_search_space(file).names
    others = [name for name in point if name not in known]
    missing = [name for name in known if name not in point]
    unknown = [name for name in others if missing or not mentions(place, name)]
    parts = [f"unknown: {', '.join(unknown)}"] * bool(unknown)
    parts += [f"missing: {', '.join(missing)}"] * bool(missing)
    if parts:
        raise PlanError(
            f"--hparams for {loading.name_of(place)}: {'; '.join(parts)}; it takes "
            f"{', '.join(known)} ({file.name})"
        )
