"""Reads the results of trials; restores missing or damaged folders from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.sweep.events import (
    AttemptEnded,
    AttemptResumed,
    AttemptStarted,
    DriverStarted,
    Evaluated,
    TrialEvent,
)
from harness.sweep.ledger import Reader
from harness.sweep.options import SweepOptions
from harness.sweep.pruner import Pruner
from scoring.records import EvalRow, RecordError, TrialResult, TrialSpec, Until
from scoring.tree import TRIAL_FILE, read_ending, read_trial, trial_folder, write_trial

if TYPE_CHECKING:
    from scoring.experiment import Experiment


def read_results(
    out: Path, specs: Iterable[TrialSpec], ended: Mapping[str, int]
) -> Iterator[tuple[TrialSpec, TrialResult, bool]]:
    """Yields the results of those trials that have ended.

    If a trial's folder is missing, damaged, or older than the last attempt that ended according to
    the ledger, it is restored from the ledger.

    Args:
        out: The results tree.
        specs: Its trials.
        ended: The last attempt of each trial, if it has ended, as `Ledger.ended`.

    Yields:
        The trial, its result, and whether its folder was restored.

    Raises:
        RecordError: A folder is damaged, and the ledger does not contain the trial's result.
    """
    late: dict[str, TrialSpec] = {}
    for spec in specs:
        found = _read(trial_folder(out, spec), may_be_damaged=spec.key in ended)
        if (found.attempts if found else 0) < ended.get(spec.key, 0):
            late[spec.key] = spec
        elif found:
            yield spec, found, False
    for name, result in _results(out, {name: ended[name] for name in late}) if late else ():
        spec = late.pop(name)
        write_trial(out, spec, result)
        yield spec, result, True
    for spec in late.values():  # some of their rows are missing in the ledger
        found = _read(trial_folder(out, spec), may_be_damaged=False)
        if found:
            yield spec, found, False


def last_options(out: Path) -> SweepOptions | None:
    """Returns the options of the last driver of `out`; None if it was an early version."""
    entries = Reader(out).new_events(kinds=(DriverStarted,))
    plain = [e.event.options for e in entries if isinstance(e.event, DriverStarted)]
    used = [options for options in plain if options is not None]
    return SweepOptions.from_plain(used[-1]) if used else None


def remaining(out: Path, experiment: Experiment, *, is_pruned: bool = False) -> list[TrialSpec]:
    """Returns the trials that a sweep would run, judged by their folders only.

    Args:
        out: Results tree.
        experiment: Plan.
        is_pruned: Whether trials that were pruned need not run, unless they now could matter.
    """
    left = [spec for spec in experiment.specs() if not _has_ended(trial_folder(out, spec))]
    if not (left and is_pruned and experiment.options.until is Until.VALIDATION):
        return left
    pruner = Pruner(experiment, out)
    return [spec for spec in left if not pruner.is_done(spec)]


def _has_ended(folder: Path) -> bool:
    return (folder / TRIAL_FILE).is_file() and read_ending(folder)[1].has_ended


def _read(folder: Path, may_be_damaged: bool) -> TrialResult | None:
    """Returns the result in a trial's folder; None if it is missing or damaged."""
    try:
        return read_trial(folder)[1]
    except RecordError:
        if may_be_damaged or not (folder / TRIAL_FILE).is_file():
            return None
        raise


def _results(out: Path, needed: dict[str, int]) -> Iterator[tuple[str, TrialResult]]:
    """Yields the results of the needed attempts that have all of their rows in the ledger."""
    rows: dict[str, list[EvalRow]] = {name: [] for name in needed}
    for entry in Reader(out).new_events():
        match entry.event:
            case TrialEvent(trial=trial) if trial not in rows:
                continue
            case AttemptStarted(trial=trial):
                rows[trial] = []
            case AttemptResumed(trial=trial, rows=before):
                rows[trial] = list(before)
            case Evaluated(trial=trial, row=row):
                rows[trial].append(row)
            case AttemptEnded(trial=trial, attempt=attempt, rows=count) as ended:
                if (attempt, count) == (needed[trial], len(rows[trial])):
                    yield trial, replace(ended.result, rows=rows[trial])
