"""Workloads, found by name without importing them.

A folder here holds `workload.py`, whose classes each state their `name = "..."`. Others register
theirs through the entry-point group `chronograd.workloads` (name = "module:Class").
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from scoring.names import known_names

if TYPE_CHECKING:
    from harness.spec import Workload

_SUITES = re.compile(r"^    suites(?:: .*)? = \((.*)\)$", re.MULTILINE)
_NAME = re.compile(r'^    name = "(\w+)"$', re.MULTILINE)


class WorkloadNotFoundError(LookupError):
    """There is no workload, or no suite, of that name."""


def names() -> list[str]:
    """Every workload there is, in alphabetical order."""
    return sorted({*_folders(), *entry_points(group="chronograd.workloads").names})


def get(name: str, data_dir: str | Path | None = None, device: str = "cpu") -> Workload:
    """A workload by its name; `data_dir` and `device` as in `harness.spec.Workload`."""
    return _find(name)(data_dir=data_dir, device=device)


def suites() -> list[str]:
    """The suites that workloads here belong to, found in the source, in alphabetical order."""
    found: set[str] = set()
    for file in sorted(Path(__file__).parent.glob("*/*.py")):
        for listed in _SUITES.findall(file.read_text(encoding="utf-8")):
            found.update(re.findall(r'"(\w+)"', listed))
    return sorted(found)


def suite(name: str) -> list[str]:
    """The names of the workloads that belong to a suite."""
    suites = {workload: _find(workload).suites for workload in names()}
    members = [workload for workload, belongs_to in suites.items() if name in belongs_to]
    if not members:
        known = sorted({suite for belongs_to in suites.values() for suite in belongs_to})
        raise WorkloadNotFoundError(f"no suite {name!r}. {known_names(name, known)}")
    return members


def _find(name: str) -> type[Workload]:
    if name not in names():
        known = known_names(name, names(), "`chronograd workloads`")
        raise WorkloadNotFoundError(f"no workload {name!r}. {known}")
    for entry in entry_points(group="chronograd.workloads", name=name):
        return cast("type[Workload]", entry.load())
    from harness.spec import Workload

    module = importlib.import_module(f"workloads.{_folders()[name]}.workload")
    for value in vars(module).values():
        ours = isinstance(value, type) and issubclass(value, Workload)
        if ours and getattr(value, "name", None) == name:
            return cast("type[Workload]", value)
    raise WorkloadNotFoundError(
        f"{module.__file__}: must define a subclass of Workload with name = {name!r}"
    )


@cache
def _folders() -> dict[str, str]:
    """Of every workload of ours the folder that its class is in, found in the source."""
    folders = {}
    for file in sorted(Path(__file__).parent.glob("*/workload.py")):
        for name in _NAME.findall(file.read_text(encoding="utf-8")):
            folders[name] = file.parent.name
    return folders
