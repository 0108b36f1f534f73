"""Where a trial's checkpoints lie: the last two, each whole or not there.

A file is named by its step and the SHA-256 of its content, so that a damaged one is known and the
one before it is taken. It holds plain data and tensors; reading it runs no code.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch

KEPT = 2


class Checkpoints:
    """The checkpoints of one trial.

    Args:
        folder: Theirs alone; made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a checkpoint aside, syncs and renames it, then drops all but the last two."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=self._folder, prefix=".writing_")
        try:
            with os.fdopen(handle, "w+b") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            Path(aside).rename(self._folder / f"{step:012}.{digest}.pt")
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        for old in self._files()[:-KEPT]:
            old.unlink()

    def load(self, until: float = math.inf) -> dict[str, Any] | None:
        """The latest one of step `until` at most that is not damaged, None where there is none."""
        for path in reversed(self._files()):
            if int(path.name.split(".")[0]) > until:
                continue
            try:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest == path.name.split(".")[1]:
                    state: dict[str, Any] = torch.load(path, weights_only=True)
                    return state
            except (OSError, RuntimeError, pickle.UnpicklingError):
                continue
        return None

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.pt"))
