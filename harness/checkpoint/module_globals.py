"""Detects changes to the variables of a submission's modules and classes.

A checkpoint does not contain them, and a resumed process initialises them again. So a submission
that changes them after initialisation cannot be checkpointed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.checkpoint.walking import changes, fingerprint


class ModuleGlobals:
    """Remembers the current variables of a submission's modules and classes.

    Args:
        folder: Folder of the submission.
        known: Ids of objects that are saved, or that a resumed process recreates.
    """

    def __init__(self, folder: Path, known: Container[int]) -> None:
        self._folder, self._known = folder, known
        self._before = fingerprint(self._variables(), known)

    def changed(self) -> list[str]:
        """Returns the paths of the variables that have changed since."""
        return changes(self._before, fingerprint(self._variables(), self._known))

    def _variables(self) -> dict[str, Any]:
        """Returns all variables by MODULE.NAME or MODULE.CLASS.NAME."""
        found: dict[str, Any] = {}
        for module in [*sys.modules.values()]:
            if not _is_of(module, self._folder):
                continue
            stem = Path(str(module.__file__)).stem
            for name, value in [*vars(module).items()]:
                if isinstance(value, type) and value.__module__ == module.__name__:
                    own = {f"{stem}.{name}.{key}": held for key, held in vars(value).items()}
                    found |= {key: held for key, held in own.items() if not key.endswith("__")}
                elif not name.startswith("__"):
                    found[f"{stem}.{name}"] = value
        return found


def _is_of(module: ModuleType | None, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(f"{folder}{os.sep}")
