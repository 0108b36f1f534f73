"""From tidy tables to the time to target of each submission, workload and study.

The written rule: a trial's time is that of its first evaluation which meets the goal within the
budget; a study's is that of its fastest trial; a workload's is the median over the planned studies.
What was missed, not run or not readable is infinite.
"""

from __future__ import annotations

import math

import pandas as pd

from scoring.records import EvalRow, TrialSpec

STUDY = ["submission", "workload", "study"]


def first_hit(spec: TrialSpec, rows: list[EvalRow]) -> EvalRow | None:
    """The first evaluation of a trial that meets its goal, None if there is none within the budget.

    A later evaluation may miss the goal again: that changes nothing.
    """
    for row in rows:
        if spec.goal.met_by(row.metrics.get(spec.goal_column, math.nan)):
            return row if row.submission_seconds <= spec.budget_seconds else None
    return None


def study_times(trials: pd.DataFrame, plan: pd.MultiIndex) -> pd.DataFrame:
    """Time to target of every planned study: that of its fastest trial.

    Args:
        trials: One row a trial, `Results.trials`.
        plan: The planned studies, with the levels `STUDY`.

    Returns:
        Indexed by `plan`: `seconds` and `steps` (of the fastest trial; infinite for a miss) and
        `trial`, which one that was (NaN for a miss); of equally fast trials the first.
    """
    hits = trials[trials["time_to_target"] < math.inf]
    fastest = hits.sort_values(["time_to_target", "trial"]).drop_duplicates(STUDY).set_index(STUDY)
    table = fastest[["time_to_target", "steps_to_target", "trial"]].reindex(plan)
    table.columns = pd.Index(["seconds", "steps", "trial"])
    return table.fillna({"seconds": math.inf, "steps": math.inf})


def medians(studies: pd.DataFrame, column: str) -> pd.DataFrame:
    """Median of `column` over the planned studies: submissions x workloads, in their planned order.

    With an even number of studies it is the mean of the middle two, so infinite if either is.
    """
    by_workload = studies[column].groupby(level=["submission", "workload"], sort=False)
    return by_workload.median().unstack("workload", sort=False)


def studies_reached(studies: pd.DataFrame) -> pd.DataFrame:
    """In how many studies the target was reached: submissions x workloads."""
    hit = studies["seconds"] < math.inf
    by_workload = hit.groupby(level=["submission", "workload"], sort=False)
    return by_workload.sum().unstack("workload", sort=False)
