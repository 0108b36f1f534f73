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
from scoring.files import load_json, open_regular

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
        file = os.fdopen(open_regular(out / FILE, os.O_WRONLY | os.O_CREAT), "wb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (
        OSError,
        ValueError,
    ):  # another process prepares it, or it cannot be written: see Ledger
        yield announce
        return

    def note(line: str) -> None:
        doing = asdict(Preparation(os.uname().nodename, os.getpid(), line))
        with suppress(OSError):  # a full disk, on which the ledger will fail
            file.truncate(0)
            file.seek(0)
            file.write(json.dumps(doing).encode())

    def announce_and_note(line: str) -> None:
        note(line)
        announce(line)

    with file:
        note("it is starting")
        try:
            yield announce_and_note
        finally:
            with suppress(OSError):  # it is not there, or the folder is not empty
                (out / FILE).unlink(missing_ok=True)
                if is_new:
                    out.rmdir()


def read_preparation(out: Path) -> Preparation | None:
    """Returns what is being prepared in `out`; None if nothing is."""
    try:
        with os.fdopen(open_regular(out / FILE), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(OSError, ValueError, TypeError):
            return Preparation(**load_json(out / FILE))
    except (OSError, ValueError):
        pass
    return None
