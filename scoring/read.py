"""Reads a results tree into tidy tables. What cannot be read is named in the warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scoring.records import Goal, RecordError, TrialResult, TrialSpec, goal_from_plain, read_json
from scoring.rulesets import Ruleset
from scoring.times import STUDY, first_hit
from scoring.tree import read_trial, trial_folders

_TRIALS = {
    **{"submission": str, "workload": str, "study": int, "trial": int},
    **{"status": str, "failure": str, "message": str},  # the last two "" unless it failed
    **{"submission_seconds": float, "total_seconds": float, "global_step": int},
    **{"budget_seconds": float, "metric": str, "direction": str, "target": float},
    **{"time_to_target": float, "steps_to_target": float},  # infinite for a miss
}
_EVALUATIONS = {
    **{"submission": str, "workload": str, "study": int, "trial": int},
    **{"global_step": int, "submission_seconds": float, "total_seconds": float},
    **{"value": float, "train_value": float},  # the goal's metric on validation and training data
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedWorkload:
    """A workload as experiment.json states it."""

    goal: Goal
    budget_seconds: float  # of one trial


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
    workloads: dict[str, PlannedWorkload]
    environment: dict[str, Any]

    @property
    def plan(self) -> pd.MultiIndex:
        """The planned studies: submissions x workloads x studies."""
        levels = [list(self.submissions), list(self.workloads), range(self.studies)]
        return pd.MultiIndex.from_product(levels, names=STUDY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """A results tree as tidy tables.

    Attributes:
        experiment: What was planned.
        trials: One row a trial that was read: how it ended, what it took, its goal, and the time
            and steps to its target (infinite for a miss).
        evaluations: One row an evaluation: step, clocks, and the goal's metric on validation and
            training data (NaN where not evaluated).
        warnings: One line for each thing in the tree that is missing, damaged or out of place.
    """

    experiment: Experiment
    trials: pd.DataFrame
    evaluations: pd.DataFrame
    warnings: list[str]


def read_tree(out: Path) -> Results:
    """Reads the results tree `out`.

    Raises:
        RecordError: It is no results tree, its experiment.json is damaged, or it holds trials on
            the step clock beside measured ones, which cannot be ranked together.
    """
    experiment = _read_experiment(out)
    trials: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    warnings: list[str] = []
    rules: dict[str, tuple[Goal, float]] = {}
    for folder in trial_folders(out):
        place = folder.relative_to(out)
        try:
            spec, result = read_trial(folder)
        except RecordError as error:
            warnings.append(str(error).replace(f"{out}/", ""))
            continue
        if not _is_planned(spec, folder, experiment):
            warnings.append(f"{place}: not a trial that experiment.json plans; left out")
            continue
        if spec.clock != experiment.clock:
            raise RecordError(
                f"{folder}: ran with --clock {spec.clock}, the tree with {experiment.clock}; "
                "measured and counted times are not ranked together: score them apart"
            )
        applied = (spec.goal, spec.budget_seconds)
        if rules.setdefault(spec.workload, applied) != applied:
            warnings.append(f"{place}: ran with another goal or budget than trials before it")
        trials.append(_trial_row(spec, result))
        evaluations += _evaluation_rows(spec, result)
    warnings += _missing(trials, experiment)
    return Results(
        experiment=experiment,
        trials=pd.DataFrame(trials, columns=list(_TRIALS)).astype(_TRIALS),
        evaluations=pd.DataFrame(evaluations, columns=list(_EVALUATIONS)).astype(_EVALUATIONS),
        warnings=warnings,
    )


def _read_experiment(out: Path) -> Experiment:
    """Reads experiment.json; its absence or damage is a RecordError."""
    path = out / "experiment.json"
    if not path.is_file():
        raise RecordError(
            f"{out}: not a results tree (no experiment.json); give the --out folder of a sweep"
        )
    data = read_json(path)
    try:
        ruleset = Ruleset(**data["ruleset"])
        factor = ruleset.self_tuning_budget_factor if data["tuning"] == "self" else 1.0
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
            workloads={n: _planned(facts, factor) for n, facts in data["workloads"].items()},
            environment=dict(data["environment"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RecordError(f"{path}: damaged ({reason}); restore it or run the sweep anew") from None
    if not len(experiment.plan) or experiment.trials < 1:
        raise RecordError(f"{path}: plans no trials; name submissions and workloads in the sweep")
    return experiment


def _planned(facts: Mapping[str, Any], factor: float) -> PlannedWorkload:
    """A workload's entry of experiment.json, whose budget is that of external tuning."""
    budget = factor * float(facts["budget_seconds"])
    return PlannedWorkload(goal=goal_from_plain(facts["goal"]), budget_seconds=budget)


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


def _trial_row(spec: TrialSpec, result: TrialResult) -> dict[str, Any]:
    """One row of `Results.trials`."""
    hit = first_hit(spec, result.rows)
    names = ("submission", "workload", "study", "trial", "budget_seconds")
    measured = ("message", "submission_seconds", "total_seconds", "global_step")
    return {
        **{name: getattr(spec, name) for name in names},
        **{name: getattr(result, name) for name in measured},
        **{name: getattr(spec.goal, name) for name in ("metric", "direction", "target")},
        "status": result.status.value,
        "failure": result.failure.value if result.failure else "",
        "time_to_target": hit.submission_seconds if hit else math.inf,
        "steps_to_target": hit.global_step if hit else math.inf,
    }


def _evaluation_rows(spec: TrialSpec, result: TrialResult) -> list[dict[str, Any]]:
    """The rows of `Results.evaluations` that a trial gives."""
    names = ("submission", "workload", "study", "trial")
    trial = {name: getattr(spec, name) for name in names}
    return [
        {
            **trial,
            **{name: getattr(row, name) for name in _EVALUATIONS if hasattr(row, name)},
            "value": row.metrics.get(spec.goal_column, math.nan),
            "train_value": row.metrics.get(f"train/{spec.goal.metric}", math.nan),
        }
        for row in result.rows
    ]


def _missing(trials: list[dict[str, Any]], experiment: Experiment) -> list[str]:
    """One line for each planned submission and workload of which trials were not read."""
    read = {tuple(row[name] for name in (*STUDY, "trial")) for row in trials}
    absent: dict[tuple[str, str], list[str]] = {}
    for submission, workload, study in experiment.plan:
        for trial in range(1, experiment.trials + 1):
            if (submission, workload, study, trial) not in read:
                missing = absent.setdefault((submission, workload), [])
                missing.append(f"study_{study}/trial_{trial}")
    return [
        f"{submission} on {workload}: no readable {', '.join(names)}; a missing trial is a miss"
        for (submission, workload), names in absent.items()
    ]
