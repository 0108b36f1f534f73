"""How a sweep stands, read from its ledger and its results tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import ledger
from harness.plan import read_experiment
from scoring.records import Status


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """Trials by state, the hours they took, and a line for every failure."""

    counts: Mapping[str, int]
    hours_spent: float  # on the submission clock, lost attempts included
    failures: Sequence[str]

    def to_plain(self) -> dict[str, Any]:
        """For --json."""
        return {
            "counts": dict(self.counts),
            "hours_spent": self.hours_spent,
            "failures": list(self.failures),
        }


def read_status(out: Path) -> SweepStatus:
    """Reads OUT; raises RecordError where it is no results tree.

    A trial whose last attempt has no end is "under way": running, or cut off with its driver.
    """
    experiment = read_experiment(out)
    state: dict[str, str] = {}
    failures: dict[str, str] = {}
    seconds: dict[tuple[str, int], float] = {}
    before: dict[tuple[str, int], float] = {}  # what an attempt went on from
    for event in ledger.read(out):
        if event["event"] == "driver_started":
            continue
        trial, attempt = event["trial"], event["attempt"]
        if event["event"] == "attempt_started":
            state[trial] = "under way"
            failures.pop(trial, None)
        elif event["event"] == "pruned":  # before it began
            state[trial] = Status.PRUNED
        elif event["event"] == "attempt_resumed":
            before[trial, attempt] = event["submission_seconds"]
        elif event["event"] == "row":
            seconds[trial, attempt] = event["row"]["submission_seconds"]
        elif event["event"] == "attempt_ended":
            state[trial] = event["status"]
            seconds[trial, attempt] = event["submission_seconds"]
            if event["status"] == Status.FAILED:
                failures[trial] = f"{trial} ({event['failure']}): {event['message']}"
    spent = sum(total - before.get(attempt, 0.0) for attempt, total in seconds.items())
    counts = Counter(state.values())
    ordered = {name: counts[name] for name in ("under way", *Status) if counts[name]}
    ordered["not started"] = sum(spec.name not in state for spec in experiment.specs())
    return SweepStatus(ordered, spent / 3600, list(failures.values()))
