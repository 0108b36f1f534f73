"""Workloads, found by name without importing them.

A folder here holds `workload.py`, whose classes each state their `name = "..."`, a literal. Others
register theirs through the entry-point group `chronograd.workloads` (name = "module:Class").
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scoring.names import known_names

if TYPE_CHECKING:
    from harness.spec import Workload


class WorkloadNotFoundError(LookupError):
    """There is no workload, or no suite, of that name."""


def names() -> list[str]:
    """Every workload there is, in alphabetical order."""
    return sorted({*_folders(), *entry_points(group="chronograd.workloads").names})


def get(name: str, data_dir: str | Path | None = None, device: str = "cpu") -> Workload:
    """A workload by its name; `data_dir` and `device` as in `harness.spec.Workload`."""
    return _find(name)(data_dir=data_dir, device=device)


def folder(workload: Workload) -> Path:
    """The folder of a workload's source file."""
    return Path(str(sys.modules[type(workload).__module__].__file__)).parent


def suites() -> list[str]:
    """The suites that workloads here belong to, found in the source, in alphabetical order."""
    found: set[str] = set()
    for file in sorted(Path(__file__).parent.glob("*/*.py")):
        for belongs_to in _stated("suites", file):
            found.update(belongs_to)
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
    """The folder that the class of each workload here is in, found in the source."""
    files = sorted(Path(__file__).parent.glob("*/workload.py"))
    return {name: file.parent.name for file in files for name in _stated("name", file)}


def _stated(attribute: str, file: Path) -> Iterator[Any]:
    """The literal values that the classes of a source file give an attribute."""
    source = file.read_text(encoding="utf-8")
    if attribute not in source:  # parsing takes longer than looking
        return
    for node in ast.walk(ast.parse(source, str(file))):
        for line in node.body if isinstance(node, ast.ClassDef) else []:
            targets, value = _assignment(line)
            if value and any(isinstance(t, ast.Name) and t.id == attribute for t in targets):
                with suppress(ValueError):  # not a literal
                    yield ast.literal_eval(value)


def _assignment(line: ast.stmt) -> tuple[Sequence[ast.expr], ast.expr | None]:
    """What a line assigns to, and what it assigns."""
    match line:
        case ast.Assign(targets, value):
            return targets, value
        case ast.AnnAssign(target, _, value):
            return [target], value
    return [], None
