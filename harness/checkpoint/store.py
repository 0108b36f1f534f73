"""A process's checkpoints in its place: written whole, verified before they are read.

A file is called STEP.PART.ATTEMPT.HMAC.pt. The parts: `state`, from which training resumes;
`weights`, the model alone, which may be read without trust; `final`, the weights at the evaluation
that reached the goal, which outlive the trial.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

from harness.checkpoint.authentication import Place
from harness.checkpoint.storage import storage
from harness.signals import interrupted
from scoring.records import error_message

KEPT = {"state": 2, "weights": 1, "final": 1}  # the latest of each part
Write = Callable[[IO[bytes]], None]
T = TypeVar("T")


class Store:
    """The checkpoints in a place, which is made when there is something to keep."""

    def __init__(self, place: Place) -> None:
        self._place, self._storage = place, storage(place.uri)

    def save(self, step: int, parts: Mapping[str, Write], check: Write | None = None) -> None:
        """Writes parts of a checkpoint aside, syncs and renames them; drops those before the last.

        Args:
            step: After which it is made.
            parts: By name, what writes each to a file.
            check: Reads the first part back; what it raises keeps the file from being stored.
        """
        for part, write in parts.items():
            handle, aside = tempfile.mkstemp(dir=self._storage.staging_folder(), prefix=".writing_")
            try:
                with os.fdopen(handle, "w+b") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                    code = self._place.sign(file, step, part, self._place.attempt)
                    if check is not None:
                        file.seek(0)
                        check(file)
                name = f"{step:012}.{part}.{self._place.attempt}.{code}.pt"
                self._storage.put(Path(aside), name)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
            check = None
            for old in self._names(part)[: -KEPT[part]]:
                self._storage.drop(old)

    def load(
        self,
        part: str,
        read: Callable[[IO[bytes]], T],
        until: float = math.inf,
        refused: Callable[[str], object] = lambda reason: None,
    ) -> T | None:
        """What `read` makes of the latest file that verifies and that it can read; None for none.

        Args:
            part: Of the checkpoints.
            read: Reads a file that was verified.
            until: The last step that counts.
            refused: Is called with the reason for each file that is passed over.
        """
        for name in reversed(self._names(part)):
            step, _, attempt, code, _ = name.split(".")
            if int(step) > until:
                continue
            what = f"checkpoint of step {int(step):,}"
            try:
                with self._storage.opened(name) as file:
                    if self._place.verify(file, int(step), part, int(attempt), code):
                        return read(file)
                refused(f"{what} does not verify: it is damaged, or somebody else wrote it")
            except BaseException as error:  # noqa: BLE001 - unpickling runs any object's code
                if interrupted():
                    raise
                refused(f"{what} cannot be read: {error_message(error)}")
        if any(name.count(".") == 2 for name in self._storage.names()):
            refused("checkpoints of an earlier version of chronograd cannot be read")
        return None

    def forget(self) -> None:
        """Deletes everything but final weights."""
        self._storage.clear(keep=".final.")

    def _names(self, part: str) -> list[str]:
        """Of all files of a part, in the order of their steps."""
        return [name for name in self._storage.names() if name.split(".")[1] == part]
