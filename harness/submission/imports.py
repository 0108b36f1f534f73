"""Resolves the imports of a submission: its own files by all their names, and AlgoPerf's modules.

AlgoPerf imports a submission from the root of its repository, so submissions import their own files
by many names: `helper`, `submissions.self_tuning.NAME.helper`, `optimizers.shampoo.helper`, or
`helper` from a folder that they add to the import path. Here each file is one module,
`_submission.FOLDER.FILE`, and every other name is an alias of it. `algoperf` and its older name
`algorithmic_efficiency` resolve to the contract of this project. absl.logging, optax and JAX are
replaced by stand-ins if they are not installed.

This applies only to imports by the submission's own files, now and later. The harness, its
dependencies and the next submission do not see these names.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from inspect import getattr_static
from pathlib import Path
from types import ModuleType

from harness.submission.standins.absent import AbsentModule
from harness.system import timers as timers  # before any submission is imported
from scoring.files import is_hidden

PACKAGE = "_submission"
FILE_VARIABLE = "CHRONOGRAD_SUBMISSION"  # tells its child processes the submission's file
_BRIDGE = Path(__file__).with_name("bridge")
_REPOSITORIES = ("submissions", "submissions_algorithms", "algorithms", "reference_algorithms")
_ALGOPERF = ("algoperf", "algorithmic_efficiency")
_STAND_INS = {
    **{f"{root}.spec": "harness.spec" for root in _ALGOPERF},
    **{f"{root}.pytorch_utils": "harness.submission.standins.pytorch_utils" for root in _ALGOPERF},
    "absl.logging": "logging",
    "optax": "harness.submission.standins.optax",
}
_JAX = ("jax", "flax", "chex")  # imported by helpers that PyTorch and JAX submissions share

_current: list[SubmissionImports] = []


def import_submission(file: Path) -> ModuleType:
    """Imports a submission's file as a module; forgets the submission imported before.

    Raises whatever the file raises.
    """
    forget_submission()
    importlib.invalidate_caches()
    imports = SubmissionImports(file)
    _current.append(imports)
    sys.meta_path.insert(0, imports)
    try:
        imports.add_package()
        return importlib.import_module(f"{PACKAGE}.{file.stem}")
    finally:
        imports.hide_aliases()
        imports.repair()


def forget_submission() -> None:
    """Undoes what importing the last submission did to the import system."""
    while _current:
        _current.pop().forget()


class SubmissionImports(MetaPathFinder):
    """Finds what one submission's files import, before Python's own finders are asked.

    Args:
        file: The submission's file; everything in its folder belongs to the submission.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._folder = file, file.parent
        self._path_before, self._finders_before = [*sys.path], [self, *sys.meta_path]
        self._aliases: list[str] = []

    def add_package(self) -> None:
        """Makes the folder a package, and runs its `__init__.py` if there is one."""
        os.environ[FILE_VARIABLE] = str(self._file)
        sys.path.append(str(_BRIDGE))
        init = self._folder / "__init__.py"
        spec = ModuleSpec(PACKAGE, None, is_package=True)
        if init.is_file():
            spec = importlib.util.spec_from_file_location(PACKAGE, init) or spec
        spec.submodule_search_locations = [str(self._folder)]
        module = sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
        if spec.loader is not None and init.is_file():
            spec.loader.exec_module(module)

    def hide_aliases(self) -> None:
        """Removes the aliases from `sys.modules`, so that other code cannot import them."""
        for name in self._aliases:
            sys.modules.pop(name, None)
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)
        self._aliases.clear()

    def repair(self) -> None:
        """Replaces what the submission put into the import system and Python cannot use."""
        sys.path = sys.path if isinstance(sys.path, list) else [*self._path_before]
        found = sys.meta_path if isinstance(sys.meta_path, list) else []
        found[:] = [finder for finder in found if getattr_static(finder, "find_spec", None)]
        kept = {id(finder) for finder in found}
        found += [finder for finder in self._finders_before if id(finder) not in kept]
        sys.meta_path = found

    def forget(self) -> None:
        """Undoes everything that importing the submission did."""
        self.hide_aliases()
        self.repair()
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        os.environ.pop(FILE_VARIABLE, None)
        for name in [*sys.modules]:
            if name.partition(".")[0] == PACKAGE:
                del sys.modules[name]
        sys.path[:] = [entry for entry in sys.path if entry in self._path_before]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the module of a name for the submission; None to leave it to Python's finders."""
        top = fullname.partition(".")[0]
        importer = _importing_file()
        if top == PACKAGE or top in sys.stdlib_module_names or not self._owns(importer):
            return None
        spec = self._algoperf_spec(fullname, importer) or self._own_spec(fullname, path, importer)
        if spec is not None:
            self._aliases.append(fullname)
        return spec

    def _algoperf_spec(self, name: str, importer: Path) -> ModuleSpec | None:
        """Finds modules of AlgoPerf, and stand-ins for packages that are not installed."""
        top = name.partition(".")[0]
        if top not in _ALGOPERF and not (top in (*_JAX, "absl", "optax") and _is_missing(top)):
            return None
        if name in _STAND_INS:
            return ModuleSpec(name, _Alias(_STAND_INS[name]))
        if name in _ALGOPERF or name == "absl":
            return _virtual_package(name)
        if top in _JAX and importer == self._file:
            raise ModuleNotFoundError(
                f"{name} is not installed, and JAX submissions cannot be run", name=name
            )
        return ModuleSpec(name, _AbsentLoader(), is_package=True)

    def _own_spec(self, name: str, path: Sequence[str] | None, importer: Path) -> ModuleSpec | None:
        """Finds files of the submission, and the packages that contain them in AlgoPerf."""
        top, last = name.partition(".")[0], name.rpartition(".")[2]
        if path is None:
            place = self._top_level(name, importer)
        else:
            inside = [Path(entry) for entry in path if self._owns(Path(entry))]
            place = next(filter(None, (_place(folder, last) for folder in inside)), None)
            if place is None and (inside or top not in _REPOSITORIES):
                return None
        if place is None and top in _REPOSITORIES:
            if path is not None and last == self._folder.name:
                place = self._folder
            elif _installed(name, path) is not None:  # a module of the package `submissions`
                return None
            else:
                place = None if path is None else _place(self._folder, last)
            if place is None:
                return _virtual_package(name)
        return None if place is None else ModuleSpec(name, _Alias(self._module_name(place)))

    def _top_level(self, name: str, importer: Path) -> Path | None:
        """Returns the submission's file or folder that a name without dots refers to."""
        regular = _place(self._folder, name, namespaces=False)
        if regular is not None:
            return regular
        installed = _installed(name)
        if installed is not None:
            origin = installed.origin or next(iter(installed.submodule_search_locations or ()), "/")
            found = Path(origin)
            if not self._owns(found):
                return None
            return found.parent if found.name == "__init__.py" else found
        if name == self._folder.name:
            return self._folder
        nearer = [folder for folder in importer.parents if self._owns(folder)]
        folders = [*nearer, *_folders_below(self._folder)]
        return next(filter(None, (_place(folder, name) for folder in folders)), None)

    def _owns(self, place: Path) -> bool:
        return place.is_relative_to(self._folder)

    def _module_name(self, place: Path) -> str:
        """Returns the name of the module of a file or folder."""
        parts = place.relative_to(self._folder).parts
        return ".".join((PACKAGE, *parts)).removesuffix(".py")


class _Alias(Loader):
    """Loads a module under another name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__  # which importlib is about to replace
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _AbsentLoader(Loader):
    """Loads stand-ins for modules of a package that is not installed."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return AbsentModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return


def _virtual_package(name: str) -> ModuleSpec:
    return ModuleSpec(name, None, is_package=True)


def _is_missing(package: str) -> bool:
    return _installed(package) is None


def _installed(name: str, path: Sequence[str] | None = None) -> ModuleSpec | None:
    """Finds a module by all other finders, including those of editable installs."""
    for finder in sys.meta_path:
        if not isinstance(finder, SubmissionImports):
            spec = finder.find_spec(name, path)
            if spec is not None:
                return spec
    return None


def _place(folder: Path, name: str, *, namespaces: bool = True) -> Path | None:
    """Returns the file or folder of module `name` in a folder, in Python's order of precedence."""
    package, file = folder / name, folder / f"{name}.py"
    if (package / "__init__.py").is_file():
        return package
    if file.is_file():
        return file
    return package if namespaces and package.is_dir() else None


def _folders_below(folder: Path) -> list[Path]:
    """Returns every folder below a folder, by depth and then by name."""
    found = [
        place
        for place in folder.rglob("*")
        if place.is_dir() and not any(map(is_hidden, place.relative_to(folder).parts))
    ]
    return sorted(found, key=lambda place: (len(place.parts), place))


def _importing_file() -> Path:
    """Returns the file whose code runs the current import, ignoring Python's import machinery."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if not name.startswith("<frozen importlib") and name != importlib.__file__:
            break
        frame = frame.f_back
    return Path(frame.f_code.co_filename)
