"""Reads and writes the lines of a ledger: checks every line, parses only those of interest.

A line is a JSON object that begins with the CRC-32 of the rest of the line, so that any changed
byte is detected. Lines of older ledgers have no checksum and begin with their sequence number; only
their fields are checked.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.sweep.events import (
    AttemptEnded,
    AttemptLost,
    AttemptResumed,
    DriverStarted,
    Evaluated,
    Event,
    TrialEvent,
    from_record,
)
from scoring.files import MOST_BYTES, open_regular
from scoring.plain import TIMES
from scoring.records import UserError
from scoring.tree import LEDGER_FILE

SCHEMA = 1  # version of the lines; older lines have none
_PREFIX = b'{"crc32": "%08x", '
_PREFIX_BYTES = len(_PREFIX % 0)  # the checksum is that of the line after them
_OLD_PREFIX = b'{"sequence": '  # of a line without a checksum
_HEAD = re.compile(
    rb'"sequence": (\d+), "time": [0-9.e+-]+, "event": "(\w+)"(?:, "trial": "((?:[^"\\]|\\.)*)")?'
)


class LedgerError(UserError):
    """The ledger cannot be read or written; the message says why and what to do about it."""


def line_of(record: Mapping[str, Any]) -> bytes:
    """Returns the line of a record, beginning with its checksum."""
    body = json.dumps({**record, "schema": SCHEMA}, allow_nan=False).encode()[1:]
    return _PREFIX % zlib.crc32(body) + body + b"\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event and its time."""

    event: Event
    time: float  # seconds since the epoch


_Parsed = tuple[dict[str, Any], Event | None]  # the fields of a line, and its event if it is known


class Reader:
    """Reads the ledger of `out` while it grows, each event once.

    An incomplete last line is left for the next call, as its event is not acknowledged yet. Invalid
    lines and repeated events are skipped.

    Attributes:
        damaged: Line numbers of the lines without a valid event.
        repeated: Number of repeated events.
        sequence: Next free sequence number.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / LEDGER_FILE
        self._offset = self._lines = 0
        self._next = 0  # all events before this number have been read,
        self._ahead: set[int] = set()  # and these after it
        self.damaged: list[int] = []
        self.repeated = self.sequence = 0

    def new_events(
        self, kinds: Collection[type[Event]] | None = None, latest: Collection[type[Event]] = ()
    ) -> Iterator[Entry]:
        """Yields the events since the last call, in order; none if there is no ledger.

        Events of kinds that only later versions have are skipped.

        Args:
            kinds: Kinds of interest; None for all. Other lines are checked, but may be skipped.
            latest: Kinds of which, among consecutive events of a trial, only the last one is
                yielded, possibly after later events of other trials.

        Raises:
            LedgerError: The ledger cannot be read, or is of a later version.
        """
        wanted = None if kinds is None else {kind.kind for kind in kinds}
        for record, event in self._new_lines(wanted, {kind.kind for kind in latest}):
            if event is not None:
                yield Entry(event, record["time"])

    def new_records(
        self, kinds: Collection[str] | None = None, latest: Collection[str] = ()
    ) -> Iterator[dict[str, Any]]:
        """Yields what `new_events` does as the fields of the lines."""
        for record, _ in self._new_lines(kinds, latest):
            yield record

    def _new_lines(
        self, kinds: Collection[str] | None, latest: Collection[str]
    ) -> Iterator[_Parsed]:
        held: dict[bytes, tuple[int, bytes]] = {}  # by trial: the last line of a kind in `latest`
        for number, line in self._complete_lines():
            intact = _is_intact(line)
            head = _HEAD.match(line, _PREFIX_BYTES) if intact else None
            if not (intact or line.startswith(_OLD_PREFIX)):
                self.damaged.append(number)
            elif head is None:
                yield from self._parsed(number, line, new=False)
            elif not self._is_new(int(head[1])):
                self.repeated += 1
            elif (kind := head[2].decode()) in latest:
                held[head[3]] = number, line
            elif kinds is None or kind in kinds:
                if head[3] in held:
                    yield from self._parsed(*held.pop(head[3]))
                yield from self._parsed(number, line)
        for before in held.values():
            yield from self._parsed(*before)

    def _complete_lines(self) -> Iterator[tuple[int, bytes]]:
        """Yields the complete lines that have not been read yet, with their numbers."""
        try:
            with os.fdopen(open_regular(self._path), "rb") as file:
                file.seek(self._offset)
                while line := file.readline(MOST_BYTES):  # a longer one is read as several
                    is_complete = line.endswith(b"\n")
                    if not is_complete and len(line) < MOST_BYTES:
                        return
                    number = self._lines + 1
                    self._offset += len(line)
                    self._lines += is_complete
                    yield number, line
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError) as error:
            raise LedgerError(f"{self._path}: cannot be read ({error})") from None

    def _parsed(self, number: int, line: bytes, new: bool = True) -> Iterator[_Parsed]:
        """Yields what a line holds if it is valid and not yet read (known if `new`)."""
        parsed = _parse(line)
        if parsed is None:
            self.damaged.append(number)
            return
        record, _ = parsed
        if record.pop("schema", SCHEMA) > SCHEMA:
            raise LedgerError(
                f"{self._path}: line {number} was written by a newer chronograd; upgrade this one"
            )
        if new or self._is_new(record["sequence"]):
            yield parsed
        else:
            self.repeated += 1

    def _is_new(self, sequence: int) -> bool:
        if sequence < self._next or sequence in self._ahead:
            return False
        if sequence == self._next and not self._ahead:  # as in all ledgers that are not damaged
            self.sequence = self._next = sequence + 1
            return True
        self.sequence = max(self.sequence, sequence + 1)
        self._ahead.add(sequence)
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1
        return True

    def describe(self) -> str:
        """Describes the damage to the ledger; "" if there is none."""
        first = f", the first is line {min(self.damaged)}" if self.damaged else ""
        parts = [f"invalid lines: {len(self.damaged)}{first}"] * bool(self.damaged)
        parts += [f"repeated events: {self.repeated}"] * bool(self.repeated)
        return "; ".join(parts)


def read(out: Path) -> list[dict[str, Any]]:
    """Returns all records of the ledger of `out` in order; none if there is no ledger."""
    return list(Reader(out).new_records())


def _is_intact(line: bytes) -> bool:
    """Whether a line begins with the checksum of the rest."""
    return line[:_PREFIX_BYTES] == _PREFIX % zlib.crc32(line[_PREFIX_BYTES:-1])


def _parse(line: bytes) -> _Parsed | None:
    """Returns what a line holds; None if it is not JSON or lacks fields of its kind."""
    try:
        record: dict[str, Any] = json.loads(line)
        record.pop("crc32", None)
        numbers = [record["time"]]
        if type(record["sequence"]) is not int or record["sequence"] < 0:
            return None
        if type(record.get("schema", SCHEMA)) is not int:
            return None
        if record.get("schema", SCHEMA) > SCHEMA:
            return record, None
        event = from_record(record)
        match event:
            case DriverStarted(pid=pid):
                numbers.append(pid)
            case TrialEvent(trial=trial, attempt=attempt):
                if trial.count("/") < 3 or type(attempt) is not int:
                    return None
                numbers += _numbers(event)
        return (record, event) if all(map(math.isfinite, map(float, numbers))) else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _numbers(event: TrialEvent) -> list[float]:
    """Returns the numbers of an event that must be finite."""
    match event:
        case Evaluated(row=row):
            return [getattr(row, name) for name in TIMES]
        case AttemptResumed(submission_seconds=seconds) | AttemptLost(submission_seconds=seconds):
            return [seconds]
        case AttemptEnded(result=result):
            return [result.submission_seconds, result.total_seconds]
    return []
