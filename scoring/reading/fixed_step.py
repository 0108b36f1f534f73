"""Reads results trees, logs and curves for a board at a fixed step."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from scoring.experiment import Experiment
from scoring.files import without_links
from scoring.names import known_names
from scoring.reading.evaluations import STEP
from scoring.reading.loss_curves import read_curves
from scoring.reading.read import read
from scoring.reading.results import Results, Trial
from scoring.reading.runs import (
    Found,
    LossRun,
    Runs,
    named_apart,
    not_finite,
    shared_runs,
    without_duplicates,
)
from scoring.reading.track3 import read_track3
from scoring.records import Goal, RecordError
from scoring.rulesets import Ruleset
from scoring.tree import EVALUATIONS_FILE, EXPERIMENT_FILE


def fixed_step_ruleset(directories: Sequence[Path], ruleset: Ruleset | None) -> Ruleset | None:
    """The ruleset, given or recorded, if its board is one at a fixed step; else None."""
    if ruleset is None:
        trees = (path for path in directories if os.path.lexists(path / EXPERIMENT_FILE))
        ruleset = next((Experiment.read(tree).ruleset for tree in trees), None)
    return ruleset if ruleset is not None and ruleset.fixed_step else None


def read_runs(
    directories: Sequence[Path],
    ruleset: Ruleset,
    *,
    given: bool = True,
    tuning: str | None = None,
    curves: Path | None = None,
) -> Runs:
    """Reads the runs of all entries.

    Args:
        directories: Results trees, folders of logs of modded-nanogpt's track 3, and CSV files of
            curves.
        ruleset: A ruleset with tests at a fixed step.
        given: Whether the ruleset was chosen by the user, and not read from a results tree.
        tuning: "external" or "self"; None for that of the results trees.
        curves: Another CSV file of curves.

    Raises:
        RecordError: There are no runs, or they cannot be compared with each other.
    """
    paths = without_links([*directories, *([curves] if curves else [])])
    if len({path.resolve() for path in paths}) < len(paths):
        raise RecordError(f"{', '.join(map(str, paths))}: the same folder or file is given twice")
    trees = [path for path in paths if os.path.lexists(path / EXPERIMENT_FILE)]
    found: dict[str, Found] = {}
    judged: set[tuple[str, Goal]] = set()
    for path in paths:
        if path in trees:
            results = read([path], ruleset if given else None, tuning)
            judged.add(_judged(results))
            found[str(path)] = _of_tree(results)
        elif path.is_dir():
            found[str(path)] = read_track3(path)
        else:
            found[str(path)] = read_curves(path)
    if len(trees) < len(paths):
        judged.add(_of_ruleset(ruleset))
    (workload, goal), *others = sorted(judged, key=str)
    if others:
        raise RecordError(
            f"{', '.join(map(str, paths))}: train for different goals ({workload} {goal}; "
            f"{others[0][0]} {others[0][1]}); score them separately"
        )
    known = named_apart(found)
    if not known:
        faults = [warning for part in found.values() for warning in part.warnings]
        raise RecordError(
            f"{', '.join(map(str, paths))}: no run was found; give logs of modded-nanogpt's track "
            f"3, a results tree, or a CSV file of curves{f' ({faults[0]})' if faults else ''}"
        )
    return Runs(
        ruleset=ruleset,
        workload=workload,
        goal=goal,
        entries=known,
        warnings=[*(w for part in found.values() for w in part.warnings), *shared_runs(known)],
        remarks=[remark for part in found.values() for remark in part.remarks],
        findings=[finding for part in found.values() for finding in part.findings],
    )


def one_entry(runs: Runs, name: str) -> str:
    """The name of an entry, if it is on the board.

    Raises:
        RecordError: It is not.
    """
    if name not in runs.entries:
        raise RecordError(f"no entry {name!r}. {known_names(name, runs.entries)}")
    return name


def _judged(results: Results) -> tuple[str, Goal]:
    """The workload that a tree's trials train, and its goal."""
    scored = results.scope.scored
    if len(scored) != 1:
        raise RecordError(
            f"ruleset {results.scope.ruleset.name}: a board at a fixed step has one workload, not "
            f"{', '.join(scored)}; sweep them into separate folders"
        )
    return scored[0], results.scope.workloads[scored[0]].goal


def _of_ruleset(ruleset: Ruleset) -> tuple[str, Goal]:
    """The workload and goal that a ruleset gives for logs."""
    name = ruleset.scored[0] if len(ruleset.scored) == 1 else ""
    goal = ruleset.goal(name)
    if goal is None:
        raise RecordError(
            f"ruleset {ruleset.name}: cannot judge logs without one `scored` workload, and its "
            "metric, direction and validation_target"
        )
    return name, goal


def _of_tree(results: Results) -> Found:
    """The runs of a results tree: its trials."""
    found = Found(warnings=list(results.warnings), remarks=list(results.remarks))
    found.findings += results.findings
    for submission in results.submissions:
        trials = [trial for trial in results.trials if trial.submission == submission]
        runs = [run for trial in trials if (run := _of_trial(trial, found.warnings))]
        found.warnings += filter(None, map(not_finite, runs))
        if runs:
            found.runs[submission] = without_duplicates(submission, runs, found.warnings)
        planned = results.scope.studies * results.scope.trials
        if len(trials) < planned:
            found.warnings.append(
                f"{submission}: {len(trials)} of {planned} planned runs were read; the others are "
                "missing"
            )
        if len({json.dumps(trial.hyperparameters, sort_keys=True) for trial in trials}) > 1:
            found.faults[submission] = "its runs have different hyperparameters"
    return found


def _of_trial(trial: Trial, warnings: list[str]) -> LossRun | None:
    """The run of a trial; None, with a warning, if it has no evaluation."""
    read, file = trial.read(), trial.folder / EVALUATIONS_FILE
    rows = [
        (int(step), loss, line, seconds)
        for step, loss, line, seconds in zip(
            read.column(STEP), read.values, read.lines, read.seconds, strict=True
        )
        if step == step
    ]
    if not rows:
        why = f"{trial.failure}: {trial.message}" if trial.failure else trial.status
        warnings.append(f"{trial.folder}: has no evaluation ({why}); the run is missing")
        return None
    steps, losses, lines, seconds_at = (list(column) for column in zip(*rows, strict=True))
    return LossRun(
        name=f"study {trial.study}" + f", trial {trial.trial}" * (trial.trial > 1),
        file=file,
        planned=None,
        steps=steps,
        losses=losses,
        lines=lines,
        seconds=seconds_at,
        made_with=f"host {trial.run.host}" if trial.run.host else "",
    )
