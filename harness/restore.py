"""Trials' folders that could not be written, made again from what the ledger holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.ledger import Reader
from scoring.records import EvalRow, RecordError, TrialResult, result_from_plain, row_from_plain
from scoring.tree import read_ending, trial_folder, write_trial

if TYPE_CHECKING:
    from harness.plan import Experiment

_FIELDS = {field.name for field in fields(TrialResult)}


def restore_folders(out: Path, experiment: Experiment) -> list[str]:
    """Writes the folder of every trial of the plan whose end only the ledger has.

    Returns:
        The names of these trials.
    """
    specs = {spec.name: spec for spec in experiment.specs()}
    ends: dict[str, int] = {}  # the attempt that ended, of trials that did not begin again
    for event in Reader(out).news(kinds=("attempt_ended", "attempt_started")):
        if event["event"] == "attempt_ended" and "rows" in event:
            ends[event["trial"]] = event["attempt"]
        elif event["event"] == "attempt_started":
            ends.pop(event["trial"], None)
    needed = {
        name: attempt
        for name, attempt in ends.items()
        if name in specs and _attempts(trial_folder(out, specs[name])) < attempt
    }
    restored = []
    for name, result in _results(out, needed) if needed else ():
        write_trial(out, specs[name], result)
        restored.append(name)
    return restored


def _attempts(folder: Path) -> int:
    """How many attempts the records in a trial's folder count; 0 where there are none."""
    if not (folder / "trial.json").is_file():
        return 0
    try:
        return read_ending(folder)[1].attempts
    except RecordError:
        return 0


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
