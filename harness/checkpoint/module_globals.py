"""What a submission keeps outside of its state: variables of its modules and classes.

A resumed process has them as they are once the submission was initialised, so a checkpoint cannot
be kept where they changed since.
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
    """The variables of a submission's modules and classes, as they are now.

    Args:
        folder: The submission's.
        known: Ids of objects that are saved, or that a resumed process has again.
    """

    def __init__(self, folder: Path, known: Container[int]) -> None:
        self._folder, self._known = folder, known
        self._before = fingerprint(self._variables(), known)

    def changed(self) -> list[str]:
        """The places of those that changed since."""
        return changes(self._before, fingerprint(self._variables(), self._known))

    def _variables(self) -> dict[str, Any]:
        """By module and name; those of a class that a module defines one by one."""
        found: dict[str, Any] = {}
        for module in [*sys.modules.values()]:
            if not _is_of(module, self._folder):
                continue
            place = Path(str(module.__file__)).stem
            for name, value in [*vars(module).items()]:
                if isinstance(value, type) and value.__module__ == module.__name__:
                    own = {f"{place}.{name}.{key}": held for key, held in vars(value).items()}
                    found |= {key: held for key, held in own.items() if not key.endswith("__")}
                elif not name.startswith("__"):
                    found[f"{place}.{name}"] = value
        return found


def _is_of(module: ModuleType | None, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(f"{folder}{os.sep}")
