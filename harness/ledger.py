"""The ledger of a results tree: an append-only file, one event a line, synced at every line.

It comes first: while a trial runs, its rows are here and nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import timers
from scoring.records import TIMES, Failure, Status, UserError, row_from_plain, to_plain

FILE = "ledger.jsonl"


class LedgerError(UserError):
    """The ledger cannot be written; the message says why and what to do."""


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
        self._sequence, self.tree, self.notice = 0, "", ""
        self.attempts: Counter[str] = Counter()
        reader, path = Reader(out), str(out.resolve())
        for event in reader.news():
            self._sequence = max(self._sequence, event["sequence"] + 1)
            if event["event"] == "attempt_started":
                self.attempts[event["trial"]] += 1
            elif event["event"] == "driver_started" and "tree" in event:
                copied = event.get("path", path) != path
                self.tree = "" if copied else self.tree or event["tree"]
        if reader.damaged or reader.repeated:
            self._set_aside(reader)
        self.tree = self.tree or uuid.uuid4().hex
        here = {"host": os.uname().nodename, "pid": os.getpid(), "path": path}
        self.append("driver_started", **here, tree=self.tree)

    def append(self, event: str, **data: Any) -> None:
        """Writes one event and waits until it is on the disk.

        Raises:
            LedgerError: The disk is full, or the ledger is no longer where it was; what was
                written before stays as it is.
        """
        record = {"sequence": self._sequence, "time": timers.time(), "event": event, **data}
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
                timers.sleep(0.05)
            else:
                return True
        return False

    def _drop_truncated_line(self) -> None:
        """A driver that was killed may have left half a line at the end."""
        content = self.path.read_bytes()
        if not content.endswith(b"\n"):
            self._file.truncate(content.rfind(b"\n") + 1)

    def _set_aside(self, reader: Reader) -> None:
        """Keeps a damaged ledger under another name, and continues with its valid events."""
        folder, number = self.path.parent, 1
        while (damaged := folder / f"ledger.damaged-{number}.jsonl").exists():
            number += 1
        new = folder / f".{FILE}.new"
        with writing(folder):
            file = new.open("w+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            for event in read(folder):
                file.write((json.dumps(event) + "\n").encode())
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
            f"can be recorded: put it back and go on with `chronograd sweep --resume {out}`"
        ) from None
    except OSError as error:
        raise LedgerError(
            f"{out}: cannot be written ({error}); what the ledger holds is safe: mend that and go "
            f"on with `chronograd sweep --resume {out}`"
        ) from None


class Reader:
    """Reads `out`'s ledger while it grows, every event once.

    A last line that is not yet whole is left for later: its event had not been acknowledged. What
    is not an event, and what is there twice, is left out.

    Attributes:
        damaged: The numbers of the lines that hold no event.
        repeated: How many events were there already.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / FILE
        self._offset = self._lines = 0
        self._next = 0  # every event before it was read,
        self._ahead: set[int] = set()  # and these
        self.damaged: list[int] = []
        self.repeated = 0

    def news(self) -> Iterator[dict[str, Any]]:
        """The events since the last call, in order; none where there is no ledger.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    self._lines += 1
                    event = _event(line)
                    if event is None:
                        self.damaged.append(self._lines)
                    elif self._is_new(event["sequence"]):
                        yield event
                    else:
                        self.repeated += 1
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise LedgerError(f"{self._path}: cannot be read ({error})") from None

    def _is_new(self, sequence: int) -> bool:
        if sequence < self._next or sequence in self._ahead:
            return False
        self._ahead.add(sequence)
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1
        return True

    def describe(self) -> str:
        """What is wrong with the ledger, "" where nothing is."""
        first = f", the first is line {self.damaged[0]}" if self.damaged else ""
        parts = [f"{len(self.damaged)} lines hold no event{first}"] * bool(self.damaged)
        parts += [f"{self.repeated} events are there twice"] * bool(self.repeated)
        return "; ".join(parts)


_OF_TRIALS = {
    "attempt_started", "attempt_resumed", "attempt_not_resumable", "attempt_not_restored",
    "attempt_not_started", "attempt_lost", "attempt_ended", "heartbeat", "pruned", "row",
}  # fmt: skip


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None where it holds none, or one that lacks what its kind has."""
    try:
        event: dict[str, Any] = json.loads(line)
        kind = event["event"]
        numbers = [event["time"]]
        if type(event["sequence"]) is not int or event["sequence"] < 0:
            return None
        if kind == "driver_started":
            numbers.append(event["pid"])
            event["host"]
        if kind in _OF_TRIALS and (
            event["trial"].count("/") < 3 or type(event["attempt"]) is not int
        ):
            return None
        if kind == "row":
            numbers += [getattr(row_from_plain(event["row"]), name) for name in TIMES]
        if kind in ("attempt_resumed", "attempt_lost", "attempt_ended"):
            numbers.append(event["submission_seconds"])
        if kind == "attempt_ended":
            numbers.append(event["total_seconds"])
            if Status(event["status"]) is Status.FAILED:
                Failure(event["failure"]), event["message"].strip()
        return event if all(map(math.isfinite, map(float, numbers))) else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


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
