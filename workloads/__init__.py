"""Workloads, found by name without importing them.

A folder here holds `workload.py`, whose classes each state their `name = "..."`, a literal. Others
register theirs through the entry-point group `chronograd.workloads` (name = "module:Class"), or
give the path of such a folder, which `register` makes available by its name.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scoring.names import known_names

if TYPE_CHECKING:
    from harness.spec import Workload


OWN = "CHRONOGRAD_WORKLOADS"  # folders of registered workloads, for processes started by this one
FILE = "workload.py"


class WorkloadNotFoundError(LookupError):
    """There is no workload, or no suite, of that name."""


def names() -> list[str]:
    """Every workload there is, in alphabetical order."""
    return sorted({*_library(), *_own()})


def _library() -> set[str]:
    return {*_folders(), *_installed()}


def named(given: str) -> str:
    """The name of a workload given by its name, or by the path of its folder or `workload.py`."""
    is_path = "/" in given or given.startswith(".") or given.endswith(".py")
    return register(given) if is_path else given


def register(place: str | Path) -> str:
    """Makes the workload of a folder available here and in processes started from here.

    Args:
        place: A folder with `workload.py`, whose only class with a literal `name` is the workload.

    Returns:
        Its name.

    Raises:
        WorkloadNotFoundError: There is none, or the name is taken.
    """
    path = Path(place).resolve()
    folder = path.parent if path.name == FILE else path
    if not (folder / FILE).is_file():
        raise WorkloadNotFoundError(
            f"no workload at {place}: give the path of a folder with {FILE}"
        )
    try:
        found = [*_stated("name", folder / FILE)]
    except SyntaxError as error:
        raise WorkloadNotFoundError(f"{folder / FILE}:{error.lineno}: {error.msg}") from None
    if len(found) != 1 or not str(found[0]).isidentifier():
        given = ", ".join(map(repr, found)) or "none"
        raise WorkloadNotFoundError(
            f"{folder / FILE}: must define one class with a literal name, an identifier; "
            f"found: {given}"
        )
    name = str(found[0])
    if name in _library() or _own().get(name, folder) != folder:
        raise WorkloadNotFoundError(
            f"{folder / FILE}: there is another workload {name!r}; choose another name"
        )
    others = [known for known in os.environ.get(OWN, "").split(os.pathsep) if known]
    os.environ[OWN] = os.pathsep.join(dict.fromkeys([*others, str(folder)]))
    return name


def own_folder(name: str) -> Path | None:
    """The folder of a registered workload; None if it is in the library."""
    return _own().get(name)


def _own() -> dict[str, Path]:
    """The folders of registered workloads, by name."""
    places = [Path(place) for place in os.environ.get(OWN, "").split(os.pathsep) if place]
    found = {place: place / FILE for place in places if (place / FILE).is_file()}
    return {str(name): place for place, file in found.items() for name in _stated("name", file)}


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
    if name in _installed():
        return cast("type[Workload]", _installed()[name].load())
    from harness.spec import Workload

    own = _own().get(name)
    package = f"workloads.{_folders()[name]}" if own is None else _package(name, own)
    module = importlib.import_module(f"{package}.workload")
    for value in vars(module).values():
        ours = isinstance(value, type) and issubclass(value, Workload)
        if ours and getattr(value, "name", None) == name:
            found = cast("type[Workload]", value)
            found.own_folder = None if own is None else str(own)
            return found
    raise WorkloadNotFoundError(
        f"{module.__file__}: must define a subclass of Workload with name = {name!r}"
    )


def _package(name: str, folder: Path) -> str:
    """Makes a folder a package, so that its files can import each other; returns its name."""
    package = f"_workload_{name}"
    known = sys.modules.get(package)
    if known is None or [*known.__path__] != [str(folder)]:
        for module in [m for m in sys.modules if m.partition(".")[0] == package]:
            del sys.modules[module]
        spec = importlib.machinery.ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[package] = importlib.util.module_from_spec(spec)
    return package


@cache
def _folders() -> dict[str, str]:
    """The folder that the class of each workload here is in, found in the source."""
    files = sorted(Path(__file__).parent.glob("*/workload.py"))
    return {name: file.parent.name for file in files for name in _stated("name", file)}


def _installed() -> dict[str, EntryPoint]:
    """The workloads of other installed packages, by name."""
    folders = [Path(folder) for folder in sys.path]
    modified = [folder.stat().st_mtime_ns for folder in folders if folder.is_dir()]
    return _entries(tuple(sys.path), tuple(modified))


@cache
def _entries(path: tuple[str, ...], modified: tuple[int, ...]) -> dict[str, EntryPoint]:
    """What is registered on the import path `path`; read again once a folder of it is modified."""
    return {entry.name: entry for entry in entry_points(group="chronograd.workloads")}


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
