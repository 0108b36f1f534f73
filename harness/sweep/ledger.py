"""The ledger of a results tree: an append-only file with one event per line, synced at each line.

While a trial runs, its rows are only here; its folder is written when it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from harness.sweep.events import AttemptEnded, AttemptStarted, DriverStarted, Event, to_record
from harness.sweep.ledger_lines import LedgerError, Reader, line_of, read
from harness.sweep.options import EVERY_TRIAL, SweepOptions
from harness.system import timers
from harness.system.exits import exit_if_forked
from scoring.files import open_regular
from scoring.plain import to_plain
from scoring.tree import LEDGER_FILE

__all__ = ["Ledger", "LedgerError", "Reader", "is_held", "read", "writing"]


class Ledger:
    """Opens the ledger of `out` for appending, by one driver at a time.

    Attributes:
        tree: Id of this results tree, so that checkpoints of another one are never used; a copied
            or moved tree gets a new id.
        attempts: Number of attempts that earlier drivers started, by trial.
        ended: The last attempt of earlier drivers, by trial; only if it has ended.
        notice: Description of the damage if the ledger was damaged and replaced; else "".

    Raises:
        LedgerError: Another process has the ledger open, or the directory cannot be written.
    """

    def __init__(self, out: Path, options: SweepOptions = EVERY_TRIAL) -> None:
        self.path, self._owner = out / LEDGER_FILE, os.getpid()
        try:
            out.mkdir(parents=True, exist_ok=True)
            descriptor = open_regular(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except ValueError as error:
            raise LedgerError(f"{self.path}: {error}; remove it, or choose another --out") from None
        except OSError as error:
            raise LedgerError(f"{out}: cannot be written ({error}); choose another --out") from None
        self._file = os.fdopen(descriptor, "a+b", buffering=0)
        if not self._lock():
            self._file.close()
            raise LedgerError(f"{out}: is in use by {_last_driver(self.path)}")
        self._drop_truncated_line()
        self.tree, self.notice = "", ""
        self.attempts: Counter[str] = Counter()
        self.ended: dict[str, int] = {}
        reader, path = Reader(out), str(out.resolve())
        for entry in reader.new_events(kinds=(AttemptStarted, AttemptEnded, DriverStarted)):
            match entry.event:
                case AttemptStarted(trial=trial):
                    self.attempts[trial] += 1
                    self.ended.pop(trial, None)
                case AttemptEnded(trial=trial, attempt=attempt, rows=int()):
                    self.ended[trial] = attempt
                case DriverStarted(tree=tree) as started if tree:
                    copied = (started.path or path) != path
                    self.tree = "" if copied else self.tree or tree
        self._sequence = reader.sequence
        if reader.damaged or reader.repeated:
            self._set_aside(reader)
        self.tree = self.tree or uuid.uuid4().hex
        self.append(
            DriverStarted(
                host=os.uname().nodename,
                pid=os.getpid(),
                path=path,
                tree=self.tree,
                options=to_plain(options),
            )
        )

    def append(self, event: Event, *, sync: bool = True) -> None:
        """Writes one event and waits until it is on disk.

        Args:
            event: Event to write.
            sync: Whether to wait for the disk; unnecessary if no result depends on the event.

        Raises:
            LedgerError: The disk is full, or the ledger was moved; earlier events are unaffected.
        """
        exit_if_forked(self._owner)
        line = line_of({"sequence": self._sequence, "time": timers.time(), **to_record(event)})
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size
        with writing(self.path.parent):
            if not os.path.samestat(self.path.stat(), os.fstat(descriptor)):
                raise FileNotFoundError(errno.ENOENT, "another file is in its place", self.path)
            try:
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
                if sync:
                    os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        self._sequence += 1

    def _lock(self) -> bool:
        """Locks the file; tries more than once, as `is_held` locks it for a moment."""
        for _ in range(3):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                timers.sleep(0.05)
            else:
                return True
        return False

    def _drop_truncated_line(self) -> None:
        """Removes an incomplete last line, which a killed driver may have left."""
        size = end = self._file.seek(0, os.SEEK_END)
        tail = b""
        while end and b"\n" not in tail:
            begin = max(0, end - 2**16)
            self._file.seek(begin)
            tail, end = self._file.read(end - begin), begin
        complete = end + tail.rfind(b"\n") + 1
        if complete < size:
            self._file.truncate(complete)

    def _set_aside(self, reader: Reader) -> None:
        """Renames a damaged ledger and continues with a copy of its valid events."""
        folder, number = self.path.parent, 1
        while (damaged := folder / f"ledger.damaged-{number}.jsonl").exists():
            number += 1
        new = folder / f".{LEDGER_FILE}.new"
        with writing(folder):
            file = new.open("w+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            for record in Reader(folder).new_records():
                file.write(line_of(record))
            os.fsync(file.fileno())
            os.link(self.path, damaged)
            new.replace(self.path)
        self._file.close()
        self._file = file
        self.notice = (
            f"{self.path}: was damaged ({reader.describe()}); it is kept as {damaged.name}. "
            "The sweep continues with the valid events and the trials' folders"
        )

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
    """Converts errors in writing a results tree to a LedgerError that says how to continue."""
    try:
        yield
    except FileNotFoundError as error:
        raise LedgerError(
            f"{out}: was deleted or moved during the sweep ({error}), which stops, as nothing can "
            f"be recorded; restore it and continue with `chronograd resume {out}`"
        ) from None
    except OSError as error:
        raise LedgerError(
            f"{out}: cannot be written ({error}); everything in the ledger is safe: fix the error "
            f"and continue with `chronograd resume {out}`"
        ) from None


def is_held(out: Path) -> bool:
    """Whether a driver, on this machine or another, has the ledger of `out` open."""
    try:
        with os.fdopen(open_regular(out / LEDGER_FILE), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file releases it
    except BlockingIOError:
        return True
    except (OSError, ValueError):
        return False  # no ledger, or an unreadable one, which Reader reports
    return False


def _last_driver(path: Path) -> str:
    entries = Reader(path.parent).new_events(kinds=(DriverStarted,))
    drivers = [entry.event for entry in entries if isinstance(entry.event, DriverStarted)]
    if not drivers:
        return "another driver"
    return f"another driver (process {drivers[-1].pid} on {drivers[-1].host})"
