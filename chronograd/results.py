"""Reads results trees and logs into tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow

from scoring import rulesets
from scoring.names import counted
from scoring.reading import read as reading
from scoring.reading.fixed_step import fixed_step_ruleset, read_runs
from scoring.reading.results import Results as _Results
from scoring.reading.runs import Runs
from scoring.records import UserError
from scoring.report import fixed_step_arrow
from scoring.report.parquet import evaluations_table, trials_table

PathLike = str | os.PathLike[str]


class Results:
    """Results of `chronograd sweep` and `run`, or logs of other harnesses; made by `read`."""

    def __init__(self, results: _Results | Runs) -> None:
        self._results = results

    @property
    def submissions(self) -> list[str]:
        """The names of all submissions, in alphabetical order."""
        if isinstance(self._results, Runs):
            return list(self._results.entries)
        return list(self._results.submissions)

    @property
    def workloads(self) -> list[str]:
        """The names of all workloads: the scored ones, then held-out variants."""
        if isinstance(self._results, Runs):
            return [self._results.workload]
        return list(self._results.scope.workloads)

    @property
    def warnings(self) -> list[str]:
        """A line for each thing that is damaged or out of place."""
        return list(self._results.warnings)

    def trials(self) -> pyarrow.Table:
        """Returns a row per trial: how it ended, its time to target and its hyperparameters.

        Returns:
            A table with, among others, the columns `submission`, `workload`, `study`, `trial`,
            `status`, `seconds_to_target` (null for a miss), `submission_seconds`, `cpu_seconds`,
            `steps`, `host`, and `hparams.NAME` for every hyperparameter. `.to_pandas()` converts it
            to a data frame. For a board at a fixed step, a row per run: `entry`, `run`,
            `planned_steps`, `last_step`, and null for what depends on a stopping step.
        """
        if isinstance(self._results, Runs):
            return fixed_step_arrow.runs_table(self._results, {})
        return trials_table(self._results)

    def evaluations(self) -> pyarrow.Table:
        """Returns a row per evaluation: clocks in seconds, steps, and the goal's metric per split.

        Returns:
            A table with the columns `submission`, `workload`, `study`, `trial`, `line` (of the
            file), `global_step`, `training_work`, `submission_seconds`, `eval_seconds`,
            `logging_seconds`, `total_seconds`, `metric`, `train`, `validation` and `test`.
            For a board at a fixed step: `entry`, `run`, `step`, `loss`, `train_seconds`, `file` and
            `line`.
        """
        if isinstance(self._results, Runs):
            return fixed_step_arrow.evaluations_table(self._results)
        return evaluations_table(self._results)

    def __repr__(self) -> str:
        if isinstance(self._results, Runs):
            count = sum(len(entry.runs) for entry in self._results.entries.values())
            return (
                f"<chronograd.Results: {count:,} runs of {len(self._results.entries)} entries on "
                f"{self._results.workload}, ruleset {self._results.ruleset.name}>"
            )
        scope = self._results.scope
        return (
            f"<chronograd.Results: {counted(len(self._results.trials), 'trial')} of "
            f"{counted(len(self.submissions), 'submission')} on "
            f"{counted(len(self.workloads), 'workload')}, "
            f"ruleset {scope.ruleset.name}, {scope.tuning} tuning>"
        )


def read(
    directories: PathLike | Sequence[PathLike] = (),
    *,
    ruleset: PathLike | None = None,
    tuning: Literal["external", "self"] | None = None,
    suite: str | None = None,
    curves: PathLike | None = None,
) -> Results:
    """Reads results trees, logs in AlgoPerf's layout, and logs of modded-nanogpt's track 3.

    Args:
        directories: One folder, or several to rank together; with a ruleset of tests at a fixed
            step, such as "track3", also folders of its logs and CSV files of curves.
        ruleset: The name of a ruleset or the path of a TOML file; None for the one that a results
            tree was run with. Logs need it.
        tuning: "external" or "self"; None for that of the results trees, and of the names of
            folders of logs.
        suite: A suite of the ruleset to score in place of all its workloads.
        curves: A CSV file of curves, for a board at a fixed step.

    Raises:
        UserError: A folder has no results, or they cannot be ranked together.
    """
    given = [directories] if isinstance(directories, (str, os.PathLike)) else directories
    folders = [Path(folder) for folder in given]
    rules = None if ruleset is None else rulesets.load(os.fspath(ruleset))
    fixed = fixed_step_ruleset(folders, rules)
    if fixed is None and curves is not None:
        raise UserError("curves need a ruleset with tests at a fixed step: ruleset='track3'")
    if fixed is None:
        return Results(reading.read(folders, rules, tuning, suite))
    file = None if curves is None else Path(curves)
    given_rules = rules is not None
    return Results(read_runs(folders, fixed, given=given_rules, tuning=tuning, curves=file))
