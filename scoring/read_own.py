"""Reads a results tree of this harness: experiment.json and the trials that it plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.evaluations import FILE, read_evaluations
from scoring.records import RecordError, TrialResult, TrialSpec, goal_from_plain, read_json
from scoring.results import Judged, Submission, Trial
from scoring.rulesets import Ruleset
from scoring.tree import read_ending, trial_folders


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """What a results tree was planned to hold, from its experiment.json.

    Attributes:
        ruleset: As applied.
        tuning: "external" or "self".
        clock: "wall", or "steps" where steps were charged a fixed time and nothing was measured.
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
                name: {"path": facts["path"], "hash": facts["hash"]}
                for name, facts in data["submissions"].items()
            },
            workloads={n: _judged(facts, factor) for n, facts in data["workloads"].items()},
            environment=dict(data["environment"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RecordError(f"{path}: damaged ({reason}); restore it or run the sweep anew") from None
    sizes = (len(experiment.submissions), len(experiment.workloads), experiment.studies)
    if min(*sizes, experiment.trials) < 1:
        raise RecordError(f"{path}: plans no trials; name submissions and workloads in the sweep")
    return experiment


def _judged(facts: Mapping[str, Any], factor: float) -> Judged:
    """A workload's entry of experiment.json, whose budget is that of external tuning."""
    budget = factor * float(facts["budget_seconds"])
    return Judged(goal=goal_from_plain(facts["goal"]), budget_seconds=budget)


def read_own(
    out: Path, experiment: Experiment, judged: Mapping[str, Judged]
) -> tuple[dict[str, Submission], list[Trial], list[str]]:
    """Reads the trials of the results tree `out`.

    Args:
        out: The tree.
        experiment: Its plan.
        judged: By workload what its trials are judged by, where that is not what trial.json says.

    Returns:
        The submissions by name, their trials, and warnings.

    Raises:
        RecordError: The tree holds trials on the step clock beside measured ones.
    """
    trials: list[Trial] = []
    warnings: list[str] = []
    for folder in trial_folders(out):
        try:
            spec, ending, measured = read_ending(folder)
            trial, faults = _trial(spec, ending, measured, folder, judged.get(spec.workload))
        except RecordError as error:
            warnings.append(f"{error}; the trial counts as missing")
            continue
        if not _is_planned(spec, folder, experiment):
            warnings.append(f"{folder}: not a trial that experiment.json plans; left out")
            continue
        if spec.clock != experiment.clock:
            raise RecordError(
                f"{folder}: ran with --clock {spec.clock}, the tree with {experiment.clock}; "
                "measured and counted times are not ranked together: score them apart"
            )
        if spec.workload not in judged and trial.judged != experiment.workloads[spec.workload]:
            planned = _words(experiment.workloads[spec.workload])
            faults.append(f"ran for {_words(trial.judged)}, experiment.json plans {planned}")
        warnings += [f"{folder}: {fault}" for fault in faults]
        trials.append(trial)
    submissions = {
        name: Submission(tree=str(out), folder=out / "submissions" / name, facts=facts)
        for name, facts in experiment.submissions.items()
    }
    return submissions, trials, warnings


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
    if measured and measured != len(read.lines):
        faults.append(f"{FILE} holds {len(read.lines)} evaluations, trial.json says {measured}")
    if judged != applied:
        faults.append(
            f"ran for {_words(applied)}, is judged by {_words(judged)}; it may have ended before "
            "it could meet that"
        )
    trial = Trial(
        submission=spec.submission,
        workload=spec.workload,
        study=spec.study,
        trial=spec.trial,
        folder=folder,
        judged=judged,
        status=ending.status.value,
        failure=ending.failure.value if ending.failure else "",
        message=ending.message,
        submission_seconds=ending.submission_seconds,
        evaluations=measured,
        hit=read.first_hit(judged.goal),
    )
    return trial, faults


def _words(judged: Judged) -> str:
    goal = judged.goal
    sign = "<=" if goal.direction == "min" else ">="
    return f"{goal.metric} {sign} {goal.target:g} within {judged.budget_seconds:,.0f} s"
