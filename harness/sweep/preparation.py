"""Says in OUT that a sweep is being prepared: its baselines are timed, nothing is recorded yet."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from scoring.escaping import one_line
from scoring.files import load_json

FILE = "preparing.json"  # locked by the process that prepares, which removes it at the end


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a process that prepares a sweep is doing."""

    host: str
    pid: int
    doing: str

    def __str__(self) -> str:
        where = f"process {self.pid} on {self.host}"
        return one_line(f"The sweep is being prepared ({where}): {self.doing}.")


@contextmanager
def preparing(out: Path, announce: Callable[[str], object]) -> Iterator[Callable[[str], object]]:
    """Context in which `read_preparation(out)` returns the line that was announced last."""
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / FILE).open("a", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process prepares the sweep, or it cannot be written: see Ledger
        yield announce
        return

    def note(line: str) -> None:
        file.truncate(0)
        json.dump(asdict(Preparation(os.uname().nodename, os.getpid(), line)), file)
        file.flush()

    def announce_and_note(line: str) -> None:
        note(line)
        announce(line)

    with file:
        note("it is starting")
        try:
            yield announce_and_note
        finally:
            (out / FILE).unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):  # it is not empty
                    out.rmdir()


def read_preparation(out: Path) -> Preparation | None:
    """Returns what is being prepared in `out`; None if nothing is."""
    try:
        with (out / FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(OSError, ValueError, TypeError):
            return Preparation(**load_json(out / FILE))
    except OSError:
        pass
    return None
