"""Reads a results tree of this harness: experiment.json and the trials that it plans."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scoring.evaluations import FILE, MOST, read_evaluations
from scoring.integrity import findings, goal_words
from scoring.records import RecordError, TrialResult, TrialSpec, goal_from_plain, read_json
from scoring.results import Judged, Scope, Submission, Trial
from scoring.rulesets import MOST_REPEATS, Ruleset, first_fault
from scoring.tree import read_ending, trial_folders

MOST_PLANNED = 1_000_000  # trials of a leaderboard: a larger number is a slip, and takes for ever
_CHOICES = {"tuning": ("external", "self"), "clock": ("wall", "steps")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """What a results tree was planned to hold, from its experiment.json.

    Attributes:
        ruleset: As applied.
        tuning: "external" or "self".
        clock: "wall", or "steps" where training work was charged and nothing was measured.
        seed: The one that all others come from.
        studies: How many of each submission and workload.
        trials: How many of each study.
        submissions: Their `path` and `hash` by name.
        workloads: Goals and budgets by name.
        environment: Where it ran.
    """

    ruleset: Ruleset
    tuning: str
    clock: str
    seed: int
    studies: int
    trials: int
    submissions: dict[str, dict[str, str]]
    workloads: dict[str, Judged]
    environment: dict[str, Any]


def read_experiment(out: Path) -> Experiment:
    """Reads experiment.json; where it is damaged or plans nothing, that is a RecordError."""
    path = out / "experiment.json"
    data = read_json(path)
    try:
        for key, known in _CHOICES.items():
            if data[key] not in known:
                raise ValueError(f"{key} {data[key]!r} is none of {', '.join(known)}")
        ruleset = Ruleset(**data["ruleset"])
        factor = ruleset.budget_factor(data["tuning"])
        experiment = Experiment(
            ruleset=ruleset,
            tuning=data["tuning"],
            clock=data["clock"],
            seed=int(data["seed"]),
            studies=int(data["studies"]),
            trials=1 if data["tuning"] == "self" else int(data["trials"]),
            submissions={
                name: {"path": str(facts["path"]), "hash": str(facts["hash"])}
                for name, facts in data["submissions"].items()
            },
            workloads={n: _judged(facts, factor) for n, facts in data["workloads"].items()},
            environment=dict(data["environment"]),
        )
        if max(experiment.studies, experiment.trials) > MOST_REPEATS:
            raise ValueError(f"more than {MOST_REPEATS} studies or trials")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, ValidationError):
            reason = f"ruleset.{first_fault(error)}"
        raise RecordError(f"{path}: damaged ({reason}); restore it or run the sweep anew") from None
    sizes = (len(experiment.submissions), len(experiment.workloads))
    planned = math.prod((*sizes, experiment.studies, experiment.trials))
    if min(*sizes, experiment.studies, experiment.trials) < 1:
        raise RecordError(f"{path}: plans no trials; name submissions and workloads in the sweep")
    if planned > MOST_PLANNED:
        raise RecordError(f"{path}: plans {planned:,} trials, at most {MOST_PLANNED:,} are scored")
    return experiment


def _judged(facts: Mapping[str, Any], factor: float) -> Judged:
    """A workload's entry of experiment.json, whose budget is that of external tuning."""
    budget = factor * float(facts["budget_seconds"])
    if not 0 < budget < math.inf:
        raise ValueError(f"a budget of {budget} s")
    return Judged(goal=goal_from_plain(facts["goal"]), budget_seconds=budget)


def read_own(
    out: Path, experiment: Experiment, scope: Scope, judged: Mapping[str, Judged]
) -> tuple[dict[str, Submission], list[Trial], list[str]]:
    """Reads the trials of the results tree `out`.

    Args:
        out: The tree.
        experiment: Its plan.
        scope: Which workloads; how many studies and trials.
        judged: By workload what its trials are judged by, where that is not what trial.json says.

    Returns:
        The submissions by name, their trials of the workloads in scope, and warnings.

    Raises:
        RecordError: The tree holds trials on the step clock beside measured ones.
    """
    trials: list[Trial] = []
    warnings = [
        f"{out}: {name} is not among the workloads scored"
        for name in experiment.workloads
        if name not in scope.workloads and scope.suite is None
    ]
    for folder in trial_folders(out):
        try:
            spec, ending, measured = read_ending(folder)
            if not _is_planned(spec, folder, experiment):
                warnings.append(f"{folder}: not a trial that experiment.json plans; left out")
                continue
            if spec.workload not in scope.workloads:
                continue
            _refuse_other_goal(spec, folder, experiment)
            trial, faults = _trial(spec, ending, measured, folder, judged.get(spec.workload))
        except RecordError as error:
            warnings.append(f"{error}; the trial counts as missing")
            continue
        if spec.clock != experiment.clock:
            raise RecordError(
                f"{folder}: ran with --clock {spec.clock}, the tree with {experiment.clock}; "
                "measured and counted times are not ranked together: score them apart"
            )
        if spec.workload not in judged and trial.judged != experiment.workloads[spec.workload]:
            planned = _words(experiment.workloads[spec.workload])
            faults.append(f"ran for {_words(trial.judged)}, experiment.json plans {planned}")
        beyond = scope.beyond_plan(trial.study, trial.trial)
        warnings += [f"{folder}: {fault}" for fault in [*faults, beyond] if fault]
        trials.append(replace(trial, extra=bool(beyond)))
    submissions = {
        name: Submission(tree=str(out), folder=out / "submissions" / name, facts=facts)
        for name, facts in experiment.submissions.items()
    }
    return submissions, trials, warnings


def _refuse_other_goal(spec: TrialSpec, folder: Path, experiment: Experiment) -> None:
    """Raises RecordError for a trial that ran for another goal than the tree's plan has."""
    goal = experiment.workloads[spec.workload].goal
    if spec.goal != goal:
        raise RecordError(
            f"{folder}: refused: it ran for {goal_words(spec.goal)}, experiment.json plans "
            f"{goal_words(goal)}"
        )


def _is_planned(spec: TrialSpec, folder: Path, experiment: Experiment) -> bool:
    """Whether a trial belongs to the plan and lies where it should."""
    place = (spec.submission, f"study_{spec.study}", f"{spec.workload}_pytorch")
    return (
        (*place, f"trial_{spec.trial}") == folder.parts[-4:]
        and spec.submission in experiment.submissions
        and spec.workload in experiment.workloads
        and spec.study in range(experiment.studies)
        and spec.trial in range(1, experiment.trials + 1)
    )


def _trial(
    spec: TrialSpec, ending: TrialResult, measured: int, folder: Path, judged: Judged | None
) -> tuple[Trial, list[str]]:
    """One trial and its faults; `judged` replaces the goal and budget that it was run with."""
    applied = Judged(goal=spec.goal, budget_seconds=spec.budget_seconds)
    judged = judged or applied
    read = read_evaluations(folder / FILE, judged.goal)
    faults = [f"{FILE} {fault}" for fault in read.faults]
    held = len(read.lines)
    if (held, measured) == (1, 0):  # one row of NaN stands for none
        held = 0
    if held != measured:
        faults.append(f"{FILE} holds {held} evaluations, trial.json says {measured}")
    seconds = ending.submission_seconds
    if not 0 <= seconds < MOST:
        faults.append(f"trial.json says that it took {seconds} s; its last evaluation counts")
        seconds = max(read.seconds, default=0.0)
    if judged != applied:
        faults.append(
            f"ran for {_words(applied)}, is judged by {_words(judged)}; it may have ended before "
            "it could meet that"
        )
    met = None
    if (spec.goal.metric, spec.goal.direction) == (judged.goal.metric, judged.goal.direction):
        met = read.first_hit(spec.goal) is not None
    trial = Trial(
        submission=spec.submission,
        workload=spec.workload,
        study=spec.study,
        trial=spec.trial,
        folder=folder,
        judged=judged,
        status=ending.status.value,
        failure=ending.failure.value if ending.failure else "",
        message=str(ending.message),
        submission_seconds=seconds,
        evaluations=held,
        hit=read.first_hit(judged.goal),
        findings=tuple(findings(spec, ending, met)),
        work=ending.work,
    )
    return trial, faults


def _words(judged: Judged) -> str:
    return f"{goal_words(judged.goal)} within {judged.budget_seconds:,.0f} s"
