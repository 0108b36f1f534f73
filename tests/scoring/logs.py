"""Logs in AlgoPerf's layout, as its runner writes them, and a small ruleset for them."""

import csv
from pathlib import Path

from scoring.rulesets import Ruleset

BUDGET = 100.0
WORKLOAD = {
    "metric": "loss",
    "direction": "min",
    "validation_target": 0.5,
    "budget_seconds": BUDGET,
}


def make_rules(**changes) -> Ruleset:
    """Two workloads, v and w, where w counts only if its variant w_held does; loss <= 0.5."""
    rules = {
        "name": "toy",
        "studies": 3,
        "trials": 2,
        "self_tuning_budget_factor": 1.5,
        "r_max": 4.0,
        "scored": ("v", "w"),
        "held_out": {"w_held": "w"},
        "suites": {"half": ("v",)},
        "workloads": dict.fromkeys(("v", "w", "w_held"), WORKLOAD),
    }
    return Ruleset(**{**rules, **changes})


RULES = make_rules()
PLAIN_RULES = make_rules(held_out={})  # every workload counts for itself


def write_logs(
    root: Path, trials, framework="pytorch", tuning_folder="external_tuning", metric="loss"
) -> Path:
    """Writes logs from {(submission, workload, study, trial): curve}.

    A curve lists evaluations: (seconds, value) or (seconds, value, global_step). Without a
    `tuning_folder` the submissions lie directly in `root`.
    """
    for key, curve in trials.items():
        write_measurements(log_folder(root, *key, framework, tuning_folder), curve, metric)
    return root


def log_folder(
    root: Path,
    submission: str,
    workload: str,
    study: int,
    trial: int,
    framework="pytorch",
    tuning_folder="external_tuning",
) -> Path:
    """Where AlgoPerf keeps a trial."""
    top = root / tuning_folder if tuning_folder else root
    return top / submission / f"study_{study}" / f"{workload}_{framework}" / f"trial_{trial}"


def write_measurements(folder: Path, curve, metric="loss") -> Path:
    """Writes a trial's eval_measurements.csv with the columns of the published logs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "eval_measurements.csv"
    rows = [_row(number, metric, *evaluation) for number, evaluation in enumerate(curve)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(_row(0, metric, 0.0, 0.0)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _row(number: int, metric: str, seconds: float, value: float, step: int | None = None):
    evaluating, logging = 1.5 * (number + 1), 0.25 * number
    return {
        "accumulated_eval_time": evaluating,
        "accumulated_logging_time": logging,
        "accumulated_submission_time": seconds,
        "global_step": round(10 * seconds) if step is None else step,
        "preemption_count": 0,
        "score": seconds,
        f"test/{metric}": value,
        "test/num_examples": 300,
        "total_duration": seconds + evaluating + logging,
        f"train/{metric}": value,
        f"validation/{metric}": value,
        "validation/num_examples": 200,
    }
