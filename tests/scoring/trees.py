"""Results trees for the tests, written by the same functions that the harness uses."""

from dataclasses import replace
from pathlib import Path

from scoring.plain import write_json
from scoring.records import EvalRow, Goal, Status, TrialResult, TrialSpec
from scoring.tree import write_trial

GOAL = Goal(metric="loss", direction="min", target=0.5)


def make_spec(submission="a", workload="w", study=0, trial=1, **changes) -> TrialSpec:
    spec = TrialSpec(
        submission=submission,
        submission_path=f"submissions/external_tuning/{submission}",
        submission_hash="0" * 64,
        tuning="external",
        workload=workload,
        study=study,
        trial=trial,
        seed=1,
        hyperparameters={"learning_rate": 0.1},
        goal=GOAL,
        test_goal=None,
        budget_seconds=100.0,
        max_allowed_runtime_sec=100.0,
        eval_period_seconds=1.0,
        step_hint=1000,
    )
    return replace(spec, **changes)


def make_row(seconds: float, value: float, step: int | None = None, metric="loss") -> EvalRow:
    return EvalRow(
        global_step=round(10 * seconds) if step is None else step,
        submission_seconds=seconds,
        cpu_seconds=seconds,
        eval_seconds=0.1,
        logging_seconds=0.0,
        total_seconds=seconds + 0.1,
        metrics={f"validation/{metric}": value, f"train/{metric}": value},
    )


def make_result(rows: list[EvalRow], status=None, **changes) -> TrialResult:
    status = status or (Status.REACHED if rows else Status.OUT_OF_TIME)
    seconds = rows[-1].submission_seconds if rows else 0.0
    result = TrialResult(status=status, rows=rows, submission_seconds=seconds, cpu_seconds=seconds)
    return replace(result, **changes)


def write_experiment(
    out: Path,
    submissions: list[str],
    workloads: list[str],
    studies=1,
    trials=1,
    goal=GOAL,
    budget=100.0,
    **changes,
) -> None:
    rules = {"name": "mini", "studies": 3, "trials": 5, "self_tuning_budget_factor": 1.5}
    experiment = {
        "ruleset": {**rules, "r_max": 4.0},
        "tuning": "external",
        "seed": 1,
        "clock": "wall",
        "submissions": {name: {"path": f"s/{name}", "hash": "0" * 64} for name in submissions},
        "workloads": {name: {"goal": goal, "budget_seconds": budget} for name in workloads},
        "studies": studies,
        "trials": trials,
        "environment": {"platform": "test"},
    }
    write_json(out / "experiment.json", {**experiment, **changes})


def write_tree(out: Path, trials, studies=None, trials_per_study=None, **changes) -> Path:
    """Writes a tree from {(submission, workload, study, trial): seconds to the target}.

    Instead of seconds may stand a trial's rows. A trial of the plan that is left out is missing;
    the plan is the smallest that holds all keys. `changes` go into experiment.json.
    """
    write_experiment(
        out,
        list(dict.fromkeys(key[0] for key in trials)),
        list(dict.fromkeys(key[1] for key in trials)),
        studies or 1 + max(key[2] for key in trials),
        trials_per_study or max(key[3] for key in trials),
        **changes,
    )
    for key, seconds in trials.items():
        rows = seconds
        if not isinstance(rows, list):
            rows = [make_row(seconds / 2, 1.0), make_row(seconds, 0.5)]
        write_trial(out, make_spec(*key, goal=changes.get("goal", GOAL)), make_result(rows))
    return out
