"""The index of each trial in arrays over submissions, workloads, studies and trials.

Shapes: S submissions, W workloads (those scored, then held-out variants), K studies, T trials.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

Place = tuple[int, int, int, int]  # submission, workload, study and trial, all from 0


class Numbered(Protocol):
    """A trial: anything with its names and numbers."""

    @property
    def submission(self) -> str:
        """The name of its submission."""

    @property
    def workload(self) -> str:
        """The name of its workload."""

    @property
    def study(self) -> int:
        """The number of its study, from 0."""

    @property
    def trial(self) -> int:
        """Its number in the study, from 1."""


class Grid:
    """The index of every trial in an array (S, W, K, T).

    Args:
        submissions: Names along S.
        workloads: Names along W.
        studies: K.
        trials: T.
        held_out: The workload of each held-out variant; those not among `workloads` are ignored.

    Attributes:
        rows: The index of each submission.
        columns: The index of each workload.
        held_out: The column of each held-out variant's workload, by the variant's column.
        shape: (S, W, K, T).
    """

    def __init__(
        self,
        submissions: Collection[str],
        workloads: Collection[str],
        studies: int,
        trials: int,
        held_out: Mapping[str, str],
    ) -> None:
        self.rows = {name: row for row, name in enumerate(submissions)}
        self.columns = {name: column for column, name in enumerate(workloads)}
        self.held_out = held_out_columns(self.columns, held_out)
        self.shape: Place = (len(self.rows), len(self.columns), studies, trials)

    def place(self, trial: Numbered) -> Place:
        """The index of a trial."""
        return (
            self.rows[trial.submission],
            self.columns[trial.workload],
            trial.study,
            trial.trial - 1,
        )


def held_out_columns(workloads: Collection[str], held_out: Mapping[str, str]) -> dict[int, int]:
    """The column of each held-out variant's workload, by the variant's column.

    Args:
        workloads: Names in the order of the columns.
        held_out: The workload of each held-out variant; those not among `workloads` are ignored.
    """
    columns = {name: column for column, name in enumerate(workloads)}
    return {
        columns[variant]: columns[workload]
        for variant, workload in held_out.items()
        if variant in columns and workload in columns
    }
