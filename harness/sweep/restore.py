"""Trials' folders that could not be written, made again from what the ledger holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.sweep.ledger import Reader
from harness.sweep.options import SweepOptions
from scoring.plain import result_from_plain, row_from_plain
from scoring.records import EvalRow, RecordError, TrialResult, TrialSpec
from scoring.tree import TRIAL_FILE, read_ending, read_trial, trial_folder, write_trial

if TYPE_CHECKING:
    from scoring.experiment import Experiment

_FIELDS = {field.name for field in fields(TrialResult)}


def read_back(out: Path, experiment: Experiment) -> Iterator[tuple[TrialSpec, TrialResult, bool]]:
    """The results of all trials of the plan that have ended, each read once.

    Where a trial's folder is missing, damaged, or of an earlier attempt than the ledger has an end
    of, it is written again from the ledger.

    Yields:
        The trial, its result, and whether its folder was written again.

    Raises:
        RecordError: A folder is damaged, and the ledger has no end of its trial.
    """
    ends = _ends(out)
    late: dict[str, TrialSpec] = {}
    for spec in experiment.specs():
        found = _read(trial_folder(out, spec), may_be_damaged=spec.name in ends)
        if (found.attempts if found else 0) < ends.get(spec.name, 0):
            late[spec.name] = spec
        elif found:
            yield spec, found, False
    for name, result in _results(out, {name: ends[name] for name in late}) if late else ():
        spec = late.pop(name)
        write_trial(out, spec, result)
        yield spec, result, True
    for spec in late.values():  # the ledger lacks some of their rows
        found = _read(trial_folder(out, spec), may_be_damaged=False)
        if found:
            yield spec, found, False


def last_options(out: Path) -> SweepOptions | None:
    """How the sweep in `out` was run last; None where an early version ran it."""
    events = Reader(out).news(kinds=("driver_started",))
    plain = [event["options"] for event in events if "options" in event]
    return SweepOptions.from_plain(plain[-1]) if plain else None


def left(out: Path, experiment: Experiment) -> list[TrialSpec]:
    """The trials that have not ended by themselves, by their folders alone."""
    return [spec for spec in experiment.specs() if not _has_ended(trial_folder(out, spec))]


def _has_ended(folder: Path) -> bool:
    return (folder / TRIAL_FILE).is_file() and read_ending(folder)[1].has_ended


def _ends(out: Path) -> dict[str, int]:
    """The attempt that ended, of every trial that did not begin again afterwards."""
    ends: dict[str, int] = {}
    for event in Reader(out).news(kinds=("attempt_ended", "attempt_started")):
        if event["event"] == "attempt_ended" and "rows" in event:
            ends[event["trial"]] = event["attempt"]
        elif event["event"] == "attempt_started":
            ends.pop(event["trial"], None)
    return ends


def _read(folder: Path, may_be_damaged: bool) -> TrialResult | None:
    """The result in a trial's folder; None where there is none, or a damaged one."""
    if not (folder / TRIAL_FILE).is_file():
        return None
    try:
        return read_trial(folder)[1]
    except RecordError:
        if not may_be_damaged:
            raise
        return None


def _results(out: Path, needed: dict[str, int]) -> Iterator[tuple[str, TrialResult]]:
    """The results of the attempts needed of which the ledger holds every row."""
    rows: dict[str, list[EvalRow]] = {name: [] for name in needed}
    for event in Reader(out).news():
        name, kind = event.get("trial"), event["event"]
        if name not in rows:
            continue
        if kind == "attempt_started":
            rows[name] = []
        elif kind == "attempt_resumed":
            rows[name] = [row_from_plain(row) for row in event.get("rows", [])]
        elif kind == "row":
            rows[name].append(row_from_plain(event["row"]))
        elif kind == "attempt_ended" and (event["attempt"], event.get("rows")) == (
            needed[name],
            len(rows[name]),
        ):
            data: dict[str, Any] = {key: event[key] for key in _FIELDS if key in event}
            yield name, result_from_plain(data, rows[name])
