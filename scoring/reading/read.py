"""Reads results trees and official logs, one or several, into the results of one leaderboard."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from scoring.experiment import MOST_PLANNED, Criteria, Experiment
from scoring.files import without_links
from scoring.names import known_names
from scoring.reading.official import read_logs, tuning_of
from scoring.reading.own import read_own
from scoring.reading.results import Results, Scope, Submission, Trial
from scoring.reading.studies import chosen_by_results, missing_trials, study_counts
from scoring.reading.verification import remark
from scoring.records import ClockKind, RecordError
from scoring.rulesets import Ruleset
from scoring.tree import EXPERIMENT_FILE

T = TypeVar("T")


def read(
    directories: Sequence[Path],
    ruleset: Ruleset | None = None,
    tuning: str | None = None,
    suite: str | None = None,
) -> Results:
    """Reads results trees (which have an experiment.json) and AlgoPerf's logs.

    Args:
        directories: The folders; submissions with the same name in two of them get distinct names.
        ruleset: The ruleset that all trials are judged by; None for that of the results trees.
        tuning: "external" or "self"; None for that of the results trees and the names of folders
            of logs.
        suite: A suite of the ruleset to score in place of all its workloads.

    Raises:
        RecordError: A folder has no results, they cannot be ranked together, or what they are
            judged by is unknown.
    """
    directories = without_links(directories)
    if len({path.resolve() for path in directories}) < len(directories):
        raise RecordError(f"{', '.join(map(str, directories))}: the same folder is given twice")
    experiments = {
        str(path): Experiment.read(path)
        for path in directories
        if os.path.lexists(path / EXPERIMENT_FILE)
    }
    logs = [path for path in directories if str(path) not in experiments]
    for path in logs:
        if not path.is_dir():
            raise RecordError(f"{path}: no such folder; give the --out folder of a sweep, or logs")
        if ruleset is None:
            raise RecordError(
                f"{path}: not a results tree (no experiment.json): give the --out folder of a "
                "sweep; if these are logs in AlgoPerf's layout, name their rules: --ruleset "
                "algoperf-0.5 (and --tuning if no folder is called self_tuning or "
                "external_tuning); for logs of modded-nanogpt: --ruleset track3"
            )
    tunings: dict[str, str] = {name: experiment.tuning for name, experiment in experiments.items()}
    tunings |= {str(path): tuning_of(path, tuning) for path in logs}
    agreed = _agreed("tuning", {**tunings, **({"--tuning": tuning} if tuning else {})})
    scope = _scope(experiments, logs, ruleset, agreed, suite)
    overrides = {tree: _override(ruleset, scope, e) for tree, e in experiments.items()}
    parts = {
        str(path): read_logs(path, scope)
        if path in logs
        else read_own(path, experiments[str(path)], scope, overrides[str(path)])
        for path in directories
    }
    submissions, trials, warnings, remarks = _named_apart(parts)
    scope = replace(scope, counts=study_counts(experiments, submissions, scope))
    _refuse_too_many(submissions, scope)
    return Results(
        scope=scope,
        submissions=dict(sorted(submissions.items())),
        trials=sorted(trials, key=lambda t: (t.submission, t.workload, t.study, t.trial)),
        missing=missing_trials(submissions, trials, scope),
        warnings=[*warnings, *_charged_apart(submissions, trials, scope)],
        remarks=[*_mixed(experiments, overrides, logs, scope), *remarks, *remark(trials)],
        environments={
            name: {"seed": e.options.seed, "clock": e.options.clock, **e.environment}
            for name, e in experiments.items()
        },
    )


def _provisional(scope: Scope) -> list[str]:
    """A remark if the targets are provisional."""
    origin = scope.ruleset.provisional
    return [f"{scope.ruleset.name}: targets are provisional: {origin}"] if origin else []


def _refuse_too_many(submissions: Mapping[str, Submission], scope: Scope) -> None:
    planned = len(submissions) * len(scope.workloads) * scope.studies * scope.trials
    if planned > MOST_PLANNED:
        raise RecordError(
            f"{scope.ruleset.name}: plans {planned:,} trials of {len(submissions):,} submissions, "
            f"at most {MOST_PLANNED:,} are scored; use a ruleset with fewer studies or trials"
        )


def _scope(
    experiments: Mapping[str, Experiment],
    logs: Sequence[Path],
    ruleset: Ruleset | None,
    tuning: str,
    suite: str | None,
) -> Scope:
    """What the trees are scored over; raises RecordError if they do not agree."""
    plans = experiments.items()
    rules = ruleset or _agreed("ruleset", {n: e.ruleset for n, e in plans})
    clocks = {n: e.options.clock for n, e in plans}
    clock = _agreed("clock", clocks | {str(log): ClockKind.WALL for log in logs})
    grows = any(e.counts is not None for e in experiments.values())
    if grows:
        studies = max(e.studies for e in experiments.values())
        trials = _agreed("number of trials", {n: e.trials_per_study for n, e in plans})
    elif ruleset is None:
        studies = _agreed("number of studies", {n: e.studies for n, e in plans})
        trials = _agreed("number of trials", {n: e.trials_per_study for n, e in plans})
    else:
        studies, trials = rules.studies, 1 if tuning == "self" else rules.trials
    planned = _planned(experiments, ruleset)
    scored, held_out = _workloads(rules, planned, suite, override=ruleset is not None)
    if not scored:
        raise RecordError(
            f"ruleset {rules.name}: has no `scored` workloads, so that it scores those that a "
            "results tree planned; logs plan none: use another --ruleset"
        )
    return Scope(
        ruleset=rules,
        tuning=tuning,
        clock=clock,
        studies=studies,
        trials=trials,
        workloads={
            name: _judged(name, rules, tuning, planned, ruleset is not None, bool(logs))
            for name in [*scored, *held_out]
        },
        held_out=held_out,
        suite=suite,
    )


def _agreed(what: str, by_tree: Mapping[str, T]) -> T:
    """The value that all trees agree on."""
    (first, value), *others = by_tree.items()
    for name, other in others:
        if other != value:
            shown = "" if what == "ruleset" else f" ({value}, {other})"
            judge = "" if what in ("tuning", "clock") else ", or use one --ruleset for all"
            raise RecordError(
                f"{first} and {name}: differ in their {what}{shown} and cannot be ranked together; "
                f"score them separately{judge}"
            )
    return value


def _planned(experiments: Mapping[str, Experiment], rules: Ruleset | None) -> dict[str, Criteria]:
    """What the trees planned; goals must agree unless `rules` have one."""
    planned: dict[str, Criteria] = {}
    for tree, experiment in experiments.items():
        for name, criteria in experiment.criteria.items():
            goal = planned.setdefault(name, criteria).goal
            if goal != criteria.goal and (rules is None or rules.goal(name) is None):
                raise RecordError(
                    f"{tree}: has another goal for {name} ({criteria.goal}) than the folders "
                    f"before it ({goal}); score them separately"
                )
    return planned


def _workloads(
    rules: Ruleset, planned: Mapping[str, Criteria], suite: str | None, override: bool
) -> tuple[list[str], dict[str, str]]:
    """The scored workloads and the held-out variants of the suite, the ruleset or the plan.

    Args:
        rules: The ruleset.
        planned: What the results trees planned.
        suite: A suite of the ruleset, which has no held-out variants.
        override: Whether the ruleset's own list counts, even if no tree planned all of it.
    """
    if suite is not None:
        members = rules.suite(suite)
        if not members:
            known = known_names(suite, rules.suites)
            raise RecordError(f"{rules.name}: has no suite {suite!r}. {known}")
        return list(members), {}
    if override and rules.scored:
        return list(rules.scored), dict(rules.held_out)
    held_out = {v: w for v, w in rules.held_out.items() if v in planned and w in planned}
    return [name for name in planned if name not in held_out], held_out


def _judged(
    name: str,
    rules: Ruleset,
    tuning: str,
    planned: Mapping[str, Criteria],
    override: bool,
    logs: bool,
) -> Criteria:
    """The goal and budget of a workload: those of the plan, or of a ruleset that overrides it."""
    goal, budget = rules.goal(name), rules.budget(name, tuning)
    if name in planned:
        own = planned[name]
        if not override:
            return own
        goal, budget = goal or own.goal, budget or own.budget_seconds
    elif budget is None and not logs:  # it is in steps, and nobody ran the workload
        budget = math.inf
    if goal is None or budget is None:
        raise RecordError(
            f"ruleset {rules.name}: cannot judge logs of workload {name} without its metric, "
            "direction, validation_target and budget_seconds"
        )
    return Criteria(goal=goal, budget_seconds=budget)


def _named_apart(
    parts: Mapping[str, tuple[dict[str, Submission], list[Trial], list[str]]],
) -> tuple[dict[str, Submission], list[Trial], list[str], list[str]]:
    """Merges all parts, with remarks; a name found in several is followed by that of its tree."""
    count = Counter(name for submissions, _, _ in parts.values() for name in submissions)
    merged: dict[str, Submission] = {}
    trials: list[Trial] = []
    warnings: list[str] = []
    for tree, (submissions, of_tree, faults) in parts.items():
        names = {n: f"{n} ({tree})" if count[n] > 1 else n for n in submissions}
        merged |= {names[name]: submission for name, submission in submissions.items()}
        trials += [replace(trial, submission=names[trial.submission]) for trial in of_tree]
        warnings += faults
    remarks = [
        f"{name}: is in {number} folders; they are ranked separately, each with its folder's name"
        for name, number in count.items()
        if number > 1
    ]
    return merged, trials, warnings, remarks


def _override(ruleset: Ruleset | None, scope: Scope, experiment: Experiment) -> dict[str, Criteria]:
    """The goals and budgets of a tree's workloads that the chosen ruleset overrides."""
    stated = ruleset.workloads if ruleset else {}
    return {
        name: Criteria(
            goal=scope.ruleset.goal(name) or own.goal,
            budget_seconds=scope.ruleset.budget(name, scope.tuning) or own.budget_seconds,
        )
        for name, own in experiment.criteria.items()
        if name in stated
    }


def _mixed(
    experiments: Mapping[str, Experiment],
    overrides: Mapping[str, Mapping[str, Criteria]],
    logs: Sequence[Path],
    scope: Scope,
) -> list[str]:
    """Remarks for readers: provisional targets, and what differs between several trees."""
    remarks = [*_provisional(scope), *chosen_by_results(experiments)]
    if len(experiments) + len(logs) > 1:
        remarks.append(
            "times from several folders are compared: if they ran on different machines, their "
            "seconds differ too"
        )
    for name, criteria in scope.workloads.items():
        plans = [{**e.criteria, **overrides[tree]} for tree, e in experiments.items()]
        budgets = {plan.get(name, criteria).budget_seconds for plan in plans}
        if len({criteria.budget_seconds, *budgets}) > 1:
            remarks.append(
                f"{name}: the folders have different budgets (their baselines were timed "
                "separately); each trial keeps its own"
            )
    return remarks


def _charged_apart(
    submissions: Mapping[str, Submission], trials: Sequence[Trial], scope: Scope
) -> list[str]:
    """A warning if the step clock charged some trials by steps and others by training work."""
    old = [trial for trial in trials if trial.charged_by_steps]
    if scope.clock == "wall" or not old or all(trial.work is None for trial in trials):
        return []
    trees = sorted({submissions[trial.submission].tree for trial in old})
    return [
        f"{len(old)} trials in {', '.join(trees)} were run before the step clock charged training "
        "work: every step cost the same, even one with the work of several batches; run them again "
        "in a new folder to compare them with the others"
    ]
