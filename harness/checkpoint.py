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

from harness.storage import storage

KEPT = 2


class Checkpoints:
    """The checkpoints of one trial.

    Args:
        place: A path or a URI, theirs alone; made when there is something to keep.
    """

    def __init__(self, place: str) -> None:
        self._storage = storage(place)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a checkpoint aside, syncs and renames it, then drops all but the last two."""
        handle, aside = tempfile.mkstemp(dir=self._storage.workshop(), prefix=".writing_")
        try:
            with os.fdopen(handle, "w+b") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._storage.put(Path(aside), f"{step:012}.{digest}.pt")
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        for old in self._storage.names()[:-KEPT]:
            self._storage.drop(old)

    def load(self, until: float = math.inf) -> dict[str, Any] | None:
        """The latest one of step `until` at most that is not damaged, None where there is none."""
        for name in reversed(self._storage.names()):
            step, digest, _ = name.split(".")
            if int(step) > until:
                continue
            try:
                with self._storage.fetched(name) as path:
                    with path.open("rb") as content:
                        found = hashlib.file_digest(content, "sha256").hexdigest()
                    if found == digest:
                        state: dict[str, Any] = torch.load(path, weights_only=True)
                        return state
            except (OSError, RuntimeError, pickle.UnpicklingError):
                continue
        return None
