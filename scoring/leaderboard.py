"""The leaderboard: scores, ranks, and all that they are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scoring.profiles import area_scores, performance_ratios
from scoring.read import Experiment, Results
from scoring.times import medians, studies_reached, study_times


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """Scores under the written rule. Every table's rows are the submissions from best to worst.

    Attributes:
        experiment: What was planned.
        method: The name of the scoring rule.
        standings: By submission: `score` in [0, 1]; `rank` from 1, ties share one; `hours` on the
            submission clock over all trials read, failed ones included; trials `planned`; and how
            many of these ended in each status, `missing` if not read.
        times: Median seconds to target, submissions x workloads, infinite for a miss.
        steps: Median steps to target of the trials that counted, likewise.
        ratios: Time over the fastest, likewise.
        reached: In how many studies the target was reached.
        studies: Seconds, steps and trial that counted of each submission, workload and study.
    """

    experiment: Experiment
    method: str
    standings: pd.DataFrame
    times: pd.DataFrame
    steps: pd.DataFrame
    ratios: pd.DataFrame
    reached: pd.DataFrame
    studies: pd.DataFrame


def make_leaderboard(results: Results) -> Leaderboard:
    """Scores and ranks the submissions of a results tree against each other."""
    experiment = results.experiment
    studies = study_times(results.trials, experiment.plan)
    times = medians(studies, "seconds")
    ratios = performance_ratios(times, experiment.ruleset.r_max)
    score = area_scores(ratios, experiment.ruleset.r_max)
    standings = pd.DataFrame({"score": score, "rank": score.rank(method="min", ascending=False)})
    standings = standings.astype({"rank": int}).join(_effort(results))
    order = standings.rename_axis("submission").sort_values(["rank", "submission"]).index
    return Leaderboard(
        experiment=experiment,
        method="rules",
        standings=standings.loc[order],
        times=times.loc[order],
        steps=medians(studies, "steps").loc[order],
        ratios=ratios.loc[order],
        reached=studies_reached(studies).loc[order],
        studies=studies,
    )


def _effort(results: Results) -> pd.DataFrame:
    """Hours and outcomes of each submission's trials."""
    experiment, trials = results.experiment, results.trials
    submissions = list(experiment.submissions)
    seconds = trials.groupby("submission")["submission_seconds"].sum()
    outcomes = pd.crosstab(trials["submission"], trials["status"]).reindex(submissions)
    planned = len(experiment.workloads) * experiment.studies * experiment.trials
    effort = outcomes.fillna(0).astype(int)
    effort["missing"] = planned - effort.sum(axis=1)
    effort.insert(0, "hours", seconds.reindex(submissions, fill_value=0.0) / 3600)
    effort.insert(1, "planned", planned)
    return effort


def to_json(board: Leaderboard) -> dict[str, Any]:
    """The leaderboard as plain data; null is a miss. `records.write_json` adds the schema."""
    submissions = []
    for name in board.standings.index.tolist():
        standing = board.standings.loc[name]
        tables = {"times": board.times, "ratios": board.ratios, "steps": board.steps}
        submissions.append(
            {
                "name": name,
                "score": float(standing["score"]),
                "score_low": None,
                "score_high": None,
                "rank": int(standing["rank"]),
                **{key: _finite(table.loc[name]) for key, table in tables.items()},
                "studies_reached": {w: int(count) for w, count in board.reached.loc[name].items()},
                "hours": float(standing["hours"]),
                "trials": {key: int(standing[key]) for key in board.standings.columns[3:]},
            }
        )
    return {
        "ruleset": board.experiment.ruleset.name,
        "method": board.method,
        "tuning": board.experiment.tuning,
        "clock": board.experiment.clock,
        "studies": board.experiment.studies,
        "workloads": list(board.experiment.workloads),
        "submissions": submissions,
    }


def _finite(row: pd.Series[float]) -> dict[str, float | None]:
    """A table's row by workload; an infinite entry is None."""
    return {str(w): value if math.isfinite(value) else None for w, value in row.items()}


def to_csv(board: Leaderboard) -> str:
    """The leaderboard as CSV: a row a submission, with three columns a workload; inf is a miss."""
    tables = {"seconds": board.times, "steps": board.steps, "ratio": board.ratios}
    columns = {
        f"{workload}/{name}": table[workload]
        for workload in board.times.columns
        for name, table in tables.items()
    }
    return board.standings.assign(**columns).to_csv(index_label="submission")
