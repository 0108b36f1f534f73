"""The checkpoints of a process: written atomically, verified before they are read.

Files are called STEP.PART.ATTEMPT.HMAC.pt. PART is `state`, from which training resumes, or
`final`, the weights at the end of a trial that reached its goal or ran with --keep-checkpoint,
which are kept after the trial.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from harness.checkpoint.authentication import Place
from harness.checkpoint.storage import storage
from harness.system import debug_log
from harness.system.signals import interrupted
from scoring.escaping import error_message

log = debug_log.logger("checkpoint")
_KEPT = {"state": 2, "final": 1}  # number of latest files kept per part
_NAME = re.compile(
    r"(?P<step>\d{12,})\.(?P<part>\w+)\.(?P<attempt>\d+)\.(?P<code>[0-9a-f]{64})\.pt"
)
_OLD_NAME = re.compile(r"\d{12,}\.[0-9a-f]{64}\.pt")  # before checkpoints were authenticated
Write = Callable[[IO[bytes]], None]
T = TypeVar("T")


class _File(NamedTuple):
    attempt: int
    step: int
    code: str
    name: str


class Store:
    """The checkpoints in a place, which is created by the first save."""

    def __init__(self, place: Place) -> None:
        self._place, self._storage = place, storage(place.uri)

    def save(self, step: int, part: str, write: Write, check: Write | None = None) -> None:
        """Writes, syncs and renames a temporary file; deletes old files of the same part.

        Args:
            step: Step after which the checkpoint is made.
            part: "state" or "final".
            write: Function that writes the file.
            check: Function that reads the file back; if it raises, the file is not stored.
        """
        attempt = self._place.attempt
        handle, aside = tempfile.mkstemp(dir=self._storage.staging_folder(), prefix=".writing_")
        try:
            with os.fdopen(handle, "w+b") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                code = self._place.sign(file, step, part, attempt)
                if check is not None:
                    file.seek(0)
                    check(file)
            self._storage.put(Path(aside), f"{step:012}.{part}.{attempt}.{code}.pt")
            compared = "compared with memory" if check else "not compared"
            log.debug("saved the %s of step %d in %s, %s", part, step, self._place.uri, compared)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        for old in self._files(part)[: -_KEPT[part]]:
            self._storage.drop(old.name)

    def load(
        self,
        part: str,
        read: Callable[[IO[bytes]], T],
        until: float = math.inf,
        refused: Callable[[str], object] = lambda reason: None,
    ) -> T | None:
        """Reads the latest file that verifies and that `read` accepts; returns None if none does.

        A file that does not verify is deleted unread.

        Args:
            part: "state" or "final".
            read: Function that reads a verified file.
            until: Last step of which a file is read.
            refused: Function called with the reason for each file that is skipped.
        """
        for attempt, step, code, name in reversed(self._files(part)):
            if step > until:
                continue
            what = f"the checkpoint of step {step:,}"
            try:
                with self._storage.opened(name) as file:
                    if self._place.verify(file, step, part, attempt, code):
                        log.debug("reads the %s of step %d, attempt %d", part, step, attempt)
                        return read(file)
                self._storage.drop(name)
                refused(f"{what} does not verify (damaged, or of another trial) and was deleted")
            except BaseException as error:
                if interrupted():
                    raise
                refused(f"{what} cannot be read: {error_message(error)}")
        if any(_OLD_NAME.fullmatch(name) for name in self._storage.names()):
            refused("checkpoints of an earlier version of chronograd cannot be read")
        return None

    def forget(self) -> None:
        """Deletes everything except final weights."""
        self._storage.clear(keep=".final.")

    def _files(self, part: str) -> list[_File]:
        """Returns the files of a part, sorted by attempt and step."""
        found = [match for name in self._storage.names() if (match := _NAME.fullmatch(name))]
        return sorted(
            _File(int(file["attempt"]), int(file["step"]), file["code"], file[0])
            for file in found
            if file["part"] == part
        )
