"""Reads results trees and logs into tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow

from scoring import rulesets
from scoring.reading import read as reading
from scoring.reading.results import Results as _Results
from scoring.report.parquet import evaluations_table, trials_table

PathLike = str | os.PathLike[str]


class Results:
    """Results of `chronograd sweep` and `run`, or logs in AlgoPerf's layout; made by `read`."""

    def __init__(self, results: _Results) -> None:
        self._results = results

    @property
    def submissions(self) -> list[str]:
        """The names of all submissions, in alphabetical order."""
        return list(self._results.submissions)

    @property
    def workloads(self) -> list[str]:
        """The names of all workloads: the scored ones, then held-out variants."""
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
            to a data frame.
        """
        return trials_table(self._results)

    def evaluations(self) -> pyarrow.Table:
        """Returns a row per evaluation: clocks in seconds, steps, and the goal's metric per split.

        Returns:
            A table with the columns `submission`, `workload`, `study`, `trial`, `line` (of the
            file), `global_step`, `training_work`, `submission_seconds`, `eval_seconds`,
            `logging_seconds`, `total_seconds`, `metric`, `train`, `validation` and `test`.
        """
        return evaluations_table(self._results)

    def __repr__(self) -> str:
        scope = self._results.scope
        return (
            f"<chronograd.Results: {len(self._results.trials):,} trials of "
            f"{len(self.submissions)} submissions on {len(self.workloads)} workloads, "
            f"ruleset {scope.ruleset.name}, {scope.tuning} tuning>"
        )


def read(
    directories: PathLike | Sequence[PathLike],
    *,
    ruleset: PathLike | None = None,
    tuning: Literal["external", "self"] | None = None,
    suite: str | None = None,
) -> Results:
    """Reads results trees and logs in AlgoPerf's layout.

    Args:
        directories: One folder, or several to rank together.
        ruleset: The name of a ruleset or the path of a TOML file; None for the one that a results
            tree was run with. Logs need it.
        tuning: "external" or "self"; None for that of the results trees, and of the names of
            folders of logs.
        suite: A suite of the ruleset to score in place of all its workloads.

    Raises:
        UserError: A folder has no results, or they cannot be ranked together.
    """
    folders = [directories] if isinstance(directories, (str, os.PathLike)) else directories
    rules = None if ruleset is None else rulesets.load(os.fspath(ruleset))
    return Results(reading.read([Path(folder) for folder in folders], rules, tuning, suite))
