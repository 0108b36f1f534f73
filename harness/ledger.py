"""The ledger of a results tree: an append-only file, one event a line, synced at every line.

It comes first: while a trial runs, its rows are here and nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from scoring.records import UserError, to_plain

FILE = "ledger.jsonl"


class LedgerError(UserError):
    """The ledger cannot be written; the message says why and what to do."""


class Ledger:
    """Opens `out`'s ledger for appending, for one driver at a time.

    Attributes:
        tree: Names this results tree, so that checkpoints of another one are never taken for its.
        attempts: By trial how many were begun, by the drivers before this one.

    Raises:
        LedgerError: Another process writes it, or the directory cannot be written to.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / FILE
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise LedgerError(f"{out}: cannot be written ({error}); choose another --out") from None
        if not self._lock():
            self._file.close()
            raise LedgerError(f"{out}: {_last_driver(self.path)} is writing here")
        self._drop_truncated_line()
        events = read(out)
        self._sequence = events[-1]["sequence"] + 1 if events else 0
        self.attempts = Counter(e["trial"] for e in events if e["event"] == "attempt_started")
        known = [event["tree"] for event in events[:1] if "tree" in event]
        self.tree = known[0] if known else uuid.uuid4().hex
        self.append("driver_started", host=os.uname().nodename, pid=os.getpid(), tree=self.tree)

    def append(self, event: str, **data: Any) -> None:
        """Writes one event and waits until it is on the disk.

        Raises:
            LedgerError: The disk is full, or the ledger is no longer where it was; what was
                written before stays as it is.
        """
        record = {"sequence": self._sequence, "time": time.time(), "event": event, **data}
        line = (json.dumps(to_plain(record), allow_nan=False) + "\n").encode()
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size
        with writing(self.path.parent):
            if not os.path.samestat(self.path.stat(), os.fstat(descriptor)):
                raise FileNotFoundError(errno.ENOENT, "another file is in its place", self.path)
            try:
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        self._sequence += 1

    def _lock(self) -> bool:
        """Tries more than once: `is_held` may be asking at this moment."""
        for _ in range(3):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.05)
            else:
                return True
        return False

    def _drop_truncated_line(self) -> None:
        """A driver that was killed may have left half a line at the end."""
        content = self.path.read_bytes()
        if not content.endswith(b"\n"):
            self._file.truncate(content.rfind(b"\n") + 1)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turns what can happen to a results tree into a LedgerError that says how to go on."""
    try:
        yield
    except FileNotFoundError as error:
        raise LedgerError(
            f"{out}: was deleted or moved under way ({error}); the sweep stops, since nothing more "
            f"can be recorded: put it back and go on with `chronograd sweep --resume {out}`"
        ) from None
    except OSError as error:
        raise LedgerError(
            f"{out}: cannot be written ({error}); what the ledger holds is safe: mend that and go "
            f"on with `chronograd sweep --resume {out}`"
        ) from None


class Reader:
    """Reads `out`'s ledger while it grows, every line once.

    A last line that is not yet whole is left for later: its event had not been acknowledged.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / FILE
        self._offset = self._lines = 0

    def news(self) -> Iterator[dict[str, Any]]:
        """The events since the last call, in order; none where there is no ledger.

        Raises:
            LedgerError: A line is damaged, or the ledger cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    self._lines += 1
                    yield json.loads(line)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise LedgerError(f"{self._path}: cannot be read ({error})") from None
        except ValueError as error:
            where = f"{self._path} line {self._lines}"
            raise LedgerError(f"{where}: damaged ({error})") from None


def read(out: Path) -> list[dict[str, Any]]:
    """Every event of `out`'s ledger in order, as a Reader gives them; empty where there is none."""
    return list(Reader(out).news())


def is_held(out: Path) -> bool:
    """Whether a driver writes `out`'s ledger at this moment, on this machine or another."""
    try:
        with (out / FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing gives it up at once
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is none, or it cannot be read, which Reader says
    return False


def _last_driver(path: Path) -> str:
    drivers = [event for event in read(path.parent) if event["event"] == "driver_started"]
    if not drivers:
        return "another driver"
    return f"another driver (process {drivers[-1]['pid']} on {drivers[-1]['host']})"
