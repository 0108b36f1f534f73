"""Runs trials and sweeps. Imports no subpackage, so that each one loads only what it needs.

The sibling packages (`scoring`, `submissions`, `workloads`) are always imported from this
installation, whatever else has their name on the import path: a clone of AlgoPerf, for example, has
a folder `scoring`, which would shadow ours in a process that starts in it.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_ROOT = str(Path(__file__).resolve().parents[1])
_PACKAGES = ("scoring", "submissions", "workloads")


class _SiblingFinder:
    """Finds the sibling packages in this installation."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec of a sibling package; None for everything else."""
        return PathFinder.find_spec(name, [_ROOT]) if name in _PACKAGES else None


sys.meta_path.insert(0, _SiblingFinder)
