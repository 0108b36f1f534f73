"""What runs a trial and a sweep. Imports none of it, so that each part loads only what it needs.

The packages that are installed with this one are found beside it, whatever has their name on the
import path: AlgoPerf's own clones, for example, have a folder `scoring`, which would come first in
a process whose path begins with the working directory.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_ROOT = str(Path(__file__).resolve().parents[1])
_PACKAGES = ("scoring", "submissions", "workloads")


class _Beside:
    """Finds the other packages of this installation."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a package of ours is; None for everything else."""
        return PathFinder.find_spec(name, [_ROOT]) if name in _PACKAGES else None


sys.meta_path.insert(0, _Beside)
