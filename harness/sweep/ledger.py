"""The ledger of a results tree: an append-only file, one event a line, synced at every line.

It comes first: while a trial runs, its rows are here and nowhere else.
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

from harness.sweep.events import AttemptStarted, DriverStarted, Event, to_record
from harness.sweep.ledger_lines import LedgerError, Reader, line_of, read
from harness.sweep.options import EVERY_TRIAL, SweepOptions
from harness.system import timers
from harness.system.exits import end_fork
from scoring.plain import to_plain
from scoring.tree import LEDGER_FILE

__all__ = ["Ledger", "LedgerError", "Reader", "is_held", "read", "writing"]


class Ledger:
    """Opens `out`'s ledger for appending, for one driver at a time.

    Attributes:
        tree: Names this results tree, so that checkpoints of another one are never taken for its;
            a new name where the tree was copied or moved.
        attempts: By trial how many were begun, by the drivers before this one.
        notice: What of a damaged ledger was lost, and where it is now; "" where it is whole.

    Raises:
        LedgerError: Another process writes it, or the directory cannot be written to.
    """

    def __init__(self, out: Path, options: SweepOptions = EVERY_TRIAL) -> None:
        self.path, self._owner = out / LEDGER_FILE, os.getpid()
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise LedgerError(f"{out}: cannot be written ({error}); choose another --out") from None
        if not self._lock():
            self._file.close()
            raise LedgerError(f"{out}: {_last_driver(self.path)} is writing here")
        self._drop_truncated_line()
        self.tree, self.notice = "", ""
        self.attempts: Counter[str] = Counter()
        reader, path = Reader(out), str(out.resolve())
        for entry in reader.new_events(kinds=(AttemptStarted, DriverStarted)):
            match entry.event:
                case AttemptStarted(trial=trial):
                    self.attempts[trial] += 1
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
        """Writes one event and waits until it is on the disk.

        Args:
            event: What happened.
            sync: Whether to wait for the disk: what no result depends on need not.

        Raises:
            LedgerError: The disk is full, or the ledger is no longer where it was; what was
                written before stays as it is.
        """
        end_fork(self._owner)
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
        """Tries more than once: `is_held` may be asking at this moment."""
        for _ in range(3):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                timers.sleep(0.05)
            else:
                return True
        return False

    def _drop_truncated_line(self) -> None:
        """A driver that was killed may have left half a line at the end."""
        size = end = self._file.seek(0, os.SEEK_END)
        tail = b""
        while end and b"\n" not in tail:
            begin = max(0, end - 2**16)
            self._file.seek(begin)
            tail, end = self._file.read(end - begin), begin
        whole = end + tail.rfind(b"\n") + 1
        if whole < size:
            self._file.truncate(whole)

    def _set_aside(self, reader: Reader) -> None:
        """Keeps a damaged ledger under another name, and continues with its valid events."""
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
            "The sweep continues with its other events and the trials' folders"
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
    """Turns what can happen to a results tree into a LedgerError that says how to go on."""
    try:
        yield
    except FileNotFoundError as error:
        raise LedgerError(
            f"{out}: was deleted or moved under way ({error}); the sweep stops, since nothing more "
            f"can be recorded: put it back and continue with `chronograd resume {out}`"
        ) from None
    except OSError as error:
        raise LedgerError(
            f"{out}: cannot be written ({error}); what the ledger holds is safe: fix that and "
            f"continue with `chronograd resume {out}`"
        ) from None


def is_held(out: Path) -> bool:
    """Whether a driver writes `out`'s ledger at this moment, on this machine or another."""
    try:
        with (out / LEDGER_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing gives it up at once
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is none, or it cannot be read, which Reader says
    return False


def _last_driver(path: Path) -> str:
    entries = Reader(path.parent).new_events(kinds=(DriverStarted,))
    drivers = [entry.event for entry in entries if isinstance(entry.event, DriverStarted)]
    if not drivers:
        return "another driver"
    return f"another driver (process {drivers[-1].pid} on {drivers[-1].host})"
