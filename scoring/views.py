"""Other views of results: with relaxed targets, or by steps to target instead of seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from scoring.experiment import Criteria
from scoring.names import known_names
from scoring.profiles import Floats, apply_rules, scores
from scoring.proofs import refused_by
from scoring.reading.evaluations import Evaluations
from scoring.reading.results import Results, Trial
from scoring.records import Goal, RecordError, Status, UserError
from scoring.times import Method, medians, study_times

MOST_RELAXATIONS = 1000
_NUMBER = r"\d*\.?\d+(?:[eE][-+]?\d+)?"


def read_amounts(text: str, workloads: Mapping[str, object]) -> dict[str, float]:
    """Parses `P` or `W=P,...`: the fraction by which each workload's target is relaxed.

    Raises:
        UserError: It has neither form, a workload is not scored, or a fraction is not in [0, 1).
    """
    if "=" not in text:
        return dict.fromkeys(workloads, _fraction("--relax", text))
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in workloads:
            raise UserError(f"--relax: {name!r} is not scored here. {known_names(name, workloads)}")
        if name in amounts:
            raise UserError(f"--relax: {name} is given twice")
        amounts[name] = _fraction(f"--relax {name}", value)
    return amounts


def read_range(text: str) -> list[float]:
    """Parses `FROM:TO:STEP` into fractions, including both ends.

    Raises:
        UserError: It is not of that form, or has no fraction or too many.
    """
    match = re.fullmatch(rf"({_NUMBER}):({_NUMBER}):({_NUMBER})", text.strip())
    if match is None:
        raise UserError(f"--relax-sweep {text!r}: give FROM:TO:STEP, such as 0:0.2:0.01")
    low, high, step = (float(number) for number in match.groups())
    _fraction("--relax-sweep", str(high))
    count = math.floor((high - low) / step * (1 + 1e-9)) + 1 if step > 0 else 0
    if not 1 <= count <= MOST_RELAXATIONS:
        raise UserError(
            f"--relax-sweep {text}: FROM must not be above TO, and STEP must give at most "
            f"{MOST_RELAXATIONS:,} fractions"
        )
    return [round(low + number * step, 12) for number in range(count)]


def _fraction(option: str, text: str) -> float:
    value = float(text) if re.fullmatch(_NUMBER, text.strip()) else math.nan
    if not 0 <= value < 1:
        raise UserError(f"{option}: {text.strip()!r} is not a fraction from 0 to below 1")
    return value


def relaxed_goal(goal: Goal, amount: float) -> Goal:
    """A goal with a target that is easier by a fraction of its size."""
    ease = amount * abs(goal.target)
    return replace(goal, target=goal.target + (ease if goal.direction == "min" else -ease))


@dataclass(frozen=True, slots=True)
class Relaxed:
    """Judges the evaluations of results by easier targets; reads each file once.

    Attributes:
        results: The results as judged by the original targets.
    """

    results: Results
    _read: dict[Path, Evaluations] = field(default_factory=dict)

    def by(self, amounts: Mapping[str, float]) -> Results:
        """The results under relaxed targets; `amounts` are the fractions by workload.

        A trial that was pruned before it met its easier target remains pruned: scoring checks
        whether it could have mattered.
        """
        scope = self.results.scope
        workloads = {
            name: replace(judged, goal=relaxed_goal(judged.goal, amounts.get(name, 0.0)))
            for name, judged in scope.workloads.items()
        }
        return replace(
            self.results,
            scope=replace(
                scope, workloads=workloads, relaxed={n: a for n, a in amounts.items() if a}
            ),
            trials=[self._judged(trial, amounts) for trial in self.results.trials],
        )

    def _judged(self, trial: Trial, amounts: Mapping[str, float]) -> Trial:
        amount = amounts.get(trial.workload, 0.0)
        if not amount or not trial.evaluations:
            return trial
        if trial.folder not in self._read:
            self._read[trial.folder] = trial.read()
        goal = relaxed_goal(trial.criteria.goal, amount)
        judged = replace(trial.criteria, goal=goal)
        found = replace(trial, criteria=judged, hit=self._read[trial.folder].first_hit(goal))
        if found.within_budget and not trial.failure:
            found = replace(found, status=Status.REACHED.value)
        return found


def by_steps(results: Results) -> Results:
    """The results in calls of `update_params` to target, instead of seconds.

    A target met after the budget in seconds is a miss, whatever its step.

    Raises:
        RecordError: A trial that was pruned has no number of steps.
    """
    warnings = list(results.warnings)
    trials = []
    for trial in results.trials:
        hit = trial.hit if trial.within_budget else None
        if hit is not None and hit.global_step is None:
            warnings.append(
                f"{trial.folder}: met its target at an unknown step, so it counts as a miss"
            )
            hit = None
        if hit is not None and hit.global_step is not None:
            hit = replace(hit, submission_seconds=float(hit.global_step))
        if trial.status == Status.PRUNED and trial.run.steps is None:
            raise RecordError(f"{trial.folder}: was pruned at an unknown step: --by steps needs it")
        judged = Criteria(goal=trial.criteria.goal, budget_seconds=math.inf)
        end = float(trial.run.steps or 0)
        trials.append(replace(trial, criteria=judged, hit=hit, end=end))
    scope = replace(results.scope, by="steps")
    return replace(results, scope=scope, trials=trials, warnings=warnings)


@dataclass(frozen=True, slots=True)
class RelaxationSweep:
    """The scores and ranks of a board as all targets are relaxed.

    Attributes:
        amounts: The fractions: (A,).
        submissions: The names: (S,).
        score_as: Scores: (A, S); NaN where a pruned trial could matter.
        rank_as: Ranks from 1: (A, S); NaN where a pruned trial could matter.
        refused: Why a fraction has no board, by its index.
    """

    amounts: list[float]
    submissions: list[str]
    score_as: Floats
    rank_as: Floats
    refused: dict[int, str]


def relaxation_sweep(
    results: Results, amounts: list[float], method: Method, steps: bool = False
) -> RelaxationSweep:
    """Scores the board with all targets relaxed by each fraction.

    Args:
        results: The results as judged by the original targets.
        amounts: Fractions of the targets.
        method: How to score.
        steps: Whether to score by steps to target.
    """
    names = list(results.submissions)
    score_as = np.full((len(amounts), len(names)), np.nan)
    rank_as = score_as.copy()
    refused = {}
    for number, board in enumerate(_boards(results, amounts, steps)):
        if reason := refused_by(method, board):
            refused[number] = reason
            continue
        times_sw = medians(study_times(board, method).seconds_swk)
        stages = apply_rules(times_sw, board.scope)
        score_s = scores(stages, board.scope.ruleset.r_max, method.exact_area).round(12)
        score_as[number] = score_s
        rank_as[number] = 1 + (score_s[None, :] > score_s[:, None]).sum(axis=1)
    return RelaxationSweep(amounts, names, score_as, rank_as, refused)


def _boards(results: Results, amounts: list[float], steps: bool) -> Iterator[Results]:
    relaxed = Relaxed(results)
    for amount in amounts:
        board = relaxed.by(dict.fromkeys(results.scope.workloads, amount))
        yield by_steps(board) if steps else board
