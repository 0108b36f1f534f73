"""The board at a fixed step: entries tested against the target, and against each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from scoring.loss_remarks import differences, refused, remarks, unfinished
from scoring.loss_tests import LossTest, LossTests, Result
from scoring.noise import Noise, pooled
from scoring.reading.loss_curves import Published
from scoring.reading.runs import Entry, Runs
from scoring.records import RecordError


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedStepBoard:
    """A scored board at a fixed step.

    Attributes:
        runs: What it is made from.
        tester: The tests.
        pooled: The deviation over seeds of the runs of this board; None if no entry has two.
        results: The entries: ranked ones, then those that are not valid, then those not tested.
        pairs: The test of whether the first entry of a pair is better than the second; of entries
            that can be tested and of which no run diverged.
        published: For each published result, how it differs from the runs; "" if it does not.
        warnings: A line for each thing that is damaged, missing or refused.
        remarks: A line for everything else that a reader must know.
    """

    runs: Runs
    tester: LossTests
    pooled: Noise | None
    results: list[Result]
    pairs: dict[tuple[str, str], LossTest]
    published: dict[str, str]
    warnings: list[str]
    remarks: list[str]

    def result(self, name: str) -> Result:
        """The entry with a name; raises KeyError if there is none."""
        return {result.name: result for result in self.results}[name]

    @property
    def better(self) -> dict[str, int]:
        """The number of entries that each compared entry is better than."""
        return {
            result.name: sum(
                self.pairs[result.name, other.name].passed
                for other in self.compared
                if other is not result
            )
            for result in self.compared
        }

    @property
    def compared(self) -> list[Result]:
        """The entries that are compared in pairs, in the order of the board."""
        return [r for r in self.results if r.test is not None and math.isfinite(r.mean)]


def make_board(runs: Runs, published: Mapping[str, Published] | None = None) -> FixedStepBoard:
    """Tests all entries.

    Args:
        runs: From `scoring.reading.fixed_step.read_runs`.
        published: The stopping step of each entry, and what was published of it; None to test each
            entry at the step at which its runs stopped.

    Raises:
        RecordError: Sigma is neither fixed nor can it be pooled.
    """
    published = published or {}
    stops = {name: _stop(entry, published.get(name)) for name, entry in runs.entries.items()}
    losses = {
        name: [] if step is None else losses_at(runs.entries[name], step)
        for name, (step, _) in stops.items()
    }
    found = pooled([[loss for loss in group if math.isfinite(loss)] for group in losses.values()])
    tester = LossTests(runs.rules, runs.goal, _noise(runs, found))
    results = _ranked(
        [_result(entry, *stops[name], losses[name], tester) for name, entry in runs.entries.items()]
    )
    board = FixedStepBoard(
        runs=runs,
        tester=tester,
        pooled=found,
        results=results,
        pairs={},
        published=differences(results, published),
        warnings=[*runs.warnings, *refused(results), *unfinished(results)],
        remarks=[*runs.remarks, *remarks(runs, results, tester, found, bool(published))],
    )
    pairs = {
        (a.name, b.name): tester.pair((a.losses, b.losses), (a.steps or 0, b.steps or 0))
        for a, b in permutations(board.compared, 2)
    }
    return replace(board, pairs=pairs)


def _noise(runs: Runs, found: Noise | None) -> Noise:
    """The deviation that tests use: the ruleset's, or that of the runs."""
    if runs.rules.sigma is not None:
        return Noise(sigma=runs.rules.sigma)
    if found is None:
        raise RecordError(
            f"ruleset {runs.ruleset.name} does not fix sigma, and no entry has two runs that "
            "stopped at the same step, to pool it from: add runs, or fix sigma in the ruleset"
        )
    return found


def _stop(entry: Entry, published: Published | None) -> tuple[int | None, str]:
    """The stopping step of an entry, or why it has none that is the same for all runs."""
    planned = Counter(run.planned for run in entry.runs if run.planned is not None)
    if entry.fault:
        return None, entry.fault
    if len(planned) > 1:
        return (
            None,
            f"its runs were planned for different numbers of steps: {_counts(planned, 'for')}",
        )
    if published is not None:
        without = [run for run in entry.runs if run.at(published.steps) is None]
        if without:
            return None, (
                f"{len(without)} of {len(entry.runs)} runs have no evaluation at its stopping step "
                f"{published.steps:,}; the first is {without[0].name} ({without[0].place})"
            )
        return published.steps, ""
    last = Counter(run.last for run in entry.runs)
    if len(last) > 1:
        first = min(entry.runs, key=lambda run: run.last)
        return None, (
            f"its runs stopped at different steps: {_counts(last)}; the stopping step must be the "
            f"same for all runs ({first.name} ends at {first.file}:{first.lines[-1]})"
        )
    return next(iter(last)), ""


def _counts(steps: Mapping[int, int], word: str = "at") -> str:
    """How many runs have each number of steps."""
    parts = (f"{n} run{'s' * (n > 1)} {word} {step:,}" for step, n in sorted(steps.items()))
    return ", ".join(parts)


def losses_at(entry: Entry, step: int) -> list[float]:
    """The loss of each run that was evaluated at a step."""
    return [run.losses[place] for run in entry.runs if (place := run.at(step)) is not None]


def common_steps(entry: Entry) -> list[int]:
    """The steps at which all runs were evaluated."""
    return sorted(set.intersection(*(set(run.steps) for run in entry.runs)))


def _result(
    entry: Entry, steps: int | None, refused: str, losses: list[float], tester: LossTests
) -> Result:
    """The result of an entry that stopped at `steps`; its rank is still open."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    common = common_steps(entry)
    passed = (step for step in common if tester.entry(losses_at(entry, step)).passed)
    return Result(
        entry=entry,
        rank=None,
        steps=steps,
        losses=losses,
        mean=tester.mean(losses) if losses else math.nan,
        deviation=float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan,
        test=tester.entry(losses) if losses else None,
        refused=refused,
        valid_from=None if refused else next(passed, None),
        looked_at=len(common),
    )


def _ranked(results: Sequence[Result]) -> list[Result]:
    """The valid entries with their ranks by steps and loss, then the others."""

    def key(result: Result) -> tuple[float, float]:
        return (result.steps or math.inf, result.mean)

    valid = sorted((result for result in results if result.valid), key=key)
    keys = [key(result) for result in valid]
    ranked = [replace(result, rank=1 + keys.index(key(result))) for result in valid]
    missed = sorted((r for r in results if r.test is not None and not r.valid), key=key)
    return [*ranked, *missed, *(result for result in results if result.test is None)]
