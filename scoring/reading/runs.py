"""The input of a board at a fixed step: the loss curves of each entry's runs."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scoring.records import Goal
from scoring.rulesets import Ruleset
from scoring.rulesets.fixed_step import FixedStepRules

_ENOUGH = 3  # evaluations that two different runs cannot have in common


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRun:
    """One run of an entry: its evaluations, by increasing step.

    Attributes:
        name: What the run is called within its entry, such as "run 3".
        file: The file with its evaluations.
        planned: The number of steps that it was started with; None if that is not on record.
        steps: The step of each evaluation.
        losses: The validation loss at each; NaN or infinite if it diverged.
        lines: The line of each in the file.
        seconds: Training time until each; NaN if that is not on record.
        made_with: The line of the log that names PyTorch and the GPU, or the host of a trial; "" if
            there is none.
    """

    name: str
    file: Path
    planned: int | None
    steps: list[int]
    losses: list[float]
    lines: list[int]
    seconds: list[float]
    made_with: str = ""

    @property
    def last(self) -> int:
        """The step of its last evaluation."""
        return self.steps[-1]

    @property
    def place(self) -> str:
        """The file and the line of its first evaluation."""
        return f"{self.file}:{self.lines[0]}"

    def at(self, step: int) -> int | None:
        """The index of the evaluation at a step; None if there is none."""
        place = bisect_left(self.steps, step)
        return place if place < len(self.steps) and self.steps[place] == step else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The runs of one entry.

    Attributes:
        name: Its name on the board.
        source: The results tree, log folder or CSV file that it is from, as given.
        runs: Its runs.
        fault: Why it cannot be tested, as found when reading; "" if it can.
    """

    name: str
    source: str
    runs: list[LossRun]
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """What a board at a fixed step is made from.

    Attributes:
        ruleset: The ruleset, as applied.
        workload: The workload that all runs train.
        goal: The target that entries are tested against.
        entries: The entries by name.
        warnings: A line for each thing that is damaged or out of place.
        remarks: A line for each thing that a reader must know, though nothing is wrong.
        findings: A line for each finding in a trial's integrity record.
    """

    ruleset: Ruleset
    workload: str
    goal: Goal
    entries: dict[str, Entry]
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def is_scored(self) -> bool:
        """Whether the ruleset is made for the workload, so that its sigma applies."""
        return not self.ruleset.scored or self.workload in self.ruleset.scored

    @property
    def rules(self) -> FixedStepRules:
        """The rules of the tests; without sigma and threshold on another workload."""
        rules = self.ruleset.fixed_step
        assert rules is not None
        if self.is_scored:
            return rules
        return rules.model_copy(update={"sigma": None, "threshold": None})


@dataclass(slots=True)
class Found:
    """What a reader finds: runs and faults by entry, warnings, remarks and findings."""

    runs: dict[str, list[LossRun]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def without_duplicates(entry: str, runs: Iterable[LossRun], warnings: list[str]) -> list[LossRun]:
    """Leaves out runs whose losses are all those of an earlier one, with a warning.

    They are the same run logged twice, or a run repeated with the same seed: either way no
    independent measurement.
    """
    kept: dict[object, LossRun] = {}
    copies: list[tuple[LossRun, LossRun]] = []
    for run in runs:
        first = kept.setdefault(_losses(run) if len(run.steps) >= _ENOUGH else run.place, run)
        if first is not run:
            copies.append((run, first))
    if copies:
        copy, first = copies[0]
        more = f" (and {len(copies) - 1} more)" * (len(copies) > 1)
        warnings.append(
            f"{copy.place}{more}: {entry}, {copy.name}: has the losses of {first.name} "
            f"({first.place}), and is left out as a duplicate"
        )
    return list(kept.values())


def shared_runs(entries: Mapping[str, Entry]) -> list[str]:
    """A line for each pair of entries that have runs in common: they are not independent."""
    owners: dict[object, list[str]] = {}
    for name, entry in entries.items():
        for run in entry.runs:
            if len(run.steps) >= _ENOUGH:
                owners.setdefault(_losses(run), []).append(name)
    pairs = Counter(tuple(names) for names in owners.values() if len(names) > 1)
    return [
        f"{' and '.join(names)} have {count} run{'s' * (count > 1)} in common: the tests of one "
        "against the other assume that they have none"
        for names, count in pairs.items()
    ]


def _losses(run: LossRun) -> object:
    """What two runs have in common only if they are the same."""
    return tuple(run.steps), tuple(map(str, run.losses))


def not_finite(run: LossRun) -> str:
    """The warning about losses that are not finite; "" if all are."""
    strange = [n for n, loss in enumerate(run.losses) if not math.isfinite(loss)]
    if not strange:
        return ""
    more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
    first = strange[0]
    return (
        f"{run.file}:{run.lines[first]}{more}: {run.name} has the loss {run.losses[first]} at step "
        f"{run.steps[first]:,}: it diverged"
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order of the numbers in them: 2 before 12."""
    return sorted(names, key=_parts)


def _parts(name: str) -> list[tuple[bool, int, str]]:
    parts = (part for part in re.split(r"(\d+)", name) if part)
    return [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts]


def named_apart(found: Mapping[str, Found]) -> dict[str, Entry]:
    """The entries of all sources; a name found in several is followed by that of its source."""
    names = [name for part in found.values() for name in part.runs]
    entries: dict[str, Entry] = {}
    for source, part in found.items():
        for name, runs in part.runs.items():
            shown = f"{name} ({source})" if names.count(name) > 1 else name
            fault = part.faults.get(name, "")
            entries[shown] = Entry(name=shown, source=source, runs=runs, fault=fault)
    return {name: entries[name] for name in in_order(entries)}
