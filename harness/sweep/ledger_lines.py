"""The lines of a ledger: every one is checked, what is not needed is not parsed.

A line is a JSON object that begins with the CRC-32 of what follows it, so that a byte that was
changed is found also where the line still is an event. Lines of older ledgers have none and begin
with their sequence number; what they hold is checked by its fields alone.
"""

from __future__ import annotations

import json
import math
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
from scoring.plain import TIMES
from scoring.records import UserError
from scoring.tree import LEDGER_FILE

SCHEMA = 1  # of the lines; older ones have none
_SUM = b'{"crc32": "%08x", '
_LENGTH = len(_SUM % 0)  # of the beginning of a line, up to what the sum is of
_WITHOUT = b'{"sequence": '  # how a line without a sum begins
_HEAD = re.compile(
    rb'"sequence": (\d+), "time": [0-9.e+-]+, "event": "(\w+)"(?:, "trial": "((?:[^"\\]|\\.)*)")?'
)


class LedgerError(UserError):
    """The ledger cannot be read or written; the message says why and what to do."""


def line_of(record: Mapping[str, Any]) -> bytes:
    """The line of a record, its sum first."""
    body = json.dumps({**record, "schema": SCHEMA}, allow_nan=False).encode()[1:]
    return _SUM % zlib.crc32(body) + body + b"\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, and when it happened."""

    event: Event
    time: float  # seconds since the epoch


class Reader:
    """Reads `out`'s ledger while it grows, every event once.

    A last line that is not yet whole is left for later: its event had not been acknowledged. What
    is not an event, and what is there twice, is left out.

    Attributes:
        damaged: The numbers of the lines that hold no event.
        repeated: How many events were there already.
        sequence: The first number that is free.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / LEDGER_FILE
        self._offset = self._lines = 0
        self._next = 0  # every event before it was read,
        self._ahead: set[int] = set()  # and these
        self.damaged: list[int] = []
        self.repeated = self.sequence = 0

    def new_events(
        self, kinds: Collection[type[Event]] | None = None, latest: Collection[type[Event]] = ()
    ) -> Iterator[Entry]:
        """The events since the last call, in order; none where there is no ledger.

        Events of kinds that only later versions know are left out.

        Args:
            kinds: Those of interest; None for all. Others are checked, but may be left out.
            latest: Kinds of which only the last one is of interest, of those that a trial has
                between its other events; it may come later than other trials' events.

        Raises:
            LedgerError: The ledger cannot be read, or is of a later version.
        """
        wanted = None if kinds is None else {kind.kind for kind in kinds}
        for record in self.new_records(wanted, {kind.kind for kind in latest}):
            if (event := from_record(record)) is not None:
                yield Entry(event, record["time"])

    def new_records(
        self, kinds: Collection[str] | None = None, latest: Collection[str] = ()
    ) -> Iterator[dict[str, Any]]:
        """As `new_events`, as they are in the file."""
        held: dict[bytes, tuple[int, bytes]] = {}  # by trial: the last line of such a kind
        for number, line in self._whole_lines():
            head = _HEAD.match(line, _LENGTH) if _is_intact(line) else None
            if head is None:
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

    def _whole_lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that were not read yet, with their numbers."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    self._lines += 1
                    yield self._lines, line
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise LedgerError(f"{self._path}: cannot be read ({error})") from None

    def _parsed(self, number: int, line: bytes, new: bool = True) -> Iterator[dict[str, Any]]:
        """The event of a line, unless it holds none or, where that was not asked, is not new."""
        record = _record(line)
        if record is None:
            self.damaged.append(number)
        elif record.pop("schema", SCHEMA) > SCHEMA:
            raise LedgerError(
                f"{self._path}: of a newer chronograd (line {number}); upgrade this one"
            )
        elif new or self._is_new(record["sequence"]):
            yield record
        else:
            self.repeated += 1

    def _is_new(self, sequence: int) -> bool:
        if sequence < self._next or sequence in self._ahead:
            return False
        self.sequence = max(self.sequence, sequence + 1)
        self._ahead.add(sequence)
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1
        return True

    def describe(self) -> str:
        """What is wrong with the ledger, "" where nothing is."""
        first = f", the first is line {min(self.damaged)}" if self.damaged else ""
        parts = [f"{len(self.damaged)} lines hold no event{first}"] * bool(self.damaged)
        parts += [f"{self.repeated} events are there twice"] * bool(self.repeated)
        return "; ".join(parts)


def read(out: Path) -> list[dict[str, Any]]:
    """Every record of `out`'s ledger in order; none where there is no ledger."""
    return list(Reader(out).new_records())


def _is_intact(line: bytes) -> bool:
    """Whether a line begins with the sum of what follows."""
    return line[:_LENGTH] == _SUM % zlib.crc32(line[_LENGTH:-1])


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where it holds none, or one that lacks what its kind has."""
    if not line.startswith(_WITHOUT) and not _is_intact(line):
        return None
    try:
        record: dict[str, Any] = json.loads(line)
        record.pop("crc32", None)
        numbers = [record["time"]]
        if type(record["sequence"]) is not int or record["sequence"] < 0:
            return None
        if type(record.get("schema", SCHEMA)) is not int:
            return None
        if record.get("schema", SCHEMA) > SCHEMA:
            return record
        match from_record(record):
            case DriverStarted(pid=pid):
                numbers.append(pid)
            case TrialEvent(trial=trial, attempt=attempt) as event:
                if trial.count("/") < 3 or type(attempt) is not int:
                    return None
                numbers += _numbers(event)
        return record if all(map(math.isfinite, map(float, numbers))) else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _numbers(event: TrialEvent) -> list[float]:
    """What must be finite."""
    match event:
        case Evaluated(row=row):
            return [getattr(row, name) for name in TIMES]
        case AttemptResumed(submission_seconds=seconds) | AttemptLost(submission_seconds=seconds):
            return [seconds]
        case AttemptEnded(result=result):
            return [result.submission_seconds, result.total_seconds]
    return []
