"""How wall-clock time was spent: seconds per step and the share of evaluations."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass

from scoring.reading.results import Results, Trial


@dataclass(frozen=True, slots=True)
class StepTime:
    """The time per step of a submission on a workload; a step is a call of `update_params`.

    Attributes:
        framework: "jax" or "pytorch".
        seconds: The median over the trials.
        relative: Relative to the median of the submissions in the same framework.
    """

    framework: str
    seconds: float
    relative: float


@dataclass(frozen=True, slots=True)
class Efficiency:
    """How the trials of results spent their time.

    Attributes:
        step_times: The time per step, by submission and workload.
        evaluation_share: The share of evaluations in the wall-clock time of all trials, by
            workload; only where both were recorded.
    """

    step_times: dict[tuple[str, str], StepTime]
    evaluation_share: dict[str, float]


def framework_of(trial: Trial) -> str:
    """The framework named by a trial's folder; "" if there is none."""
    return trial.folder.parent.name.rpartition("_")[2] if "_" in trial.folder.parent.name else ""


def efficiency(results: Results) -> Efficiency:
    """Computes step times and shares of evaluations; empty on the step clock."""
    if results.scope.clock != "wall":
        return Efficiency({}, {})
    return Efficiency(_step_times(results), _evaluation_shares(results))


def _step_times(results: Results) -> dict[tuple[str, str], StepTime]:
    by_trial: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for trial in results.trials:
        if trial.run.steps and trial.submission_seconds > 0:
            key = (trial.submission, trial.workload, framework_of(trial))
            by_trial[key].append(trial.submission_seconds / trial.run.steps)
    own = {key: statistics.median(seconds) for key, seconds in by_trial.items()}
    peers: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (_, workload, framework), seconds in own.items():
        peers[workload, framework].append(seconds)
    return {
        (name, workload): StepTime(
            framework, seconds, seconds / statistics.median(peers[workload, framework])
        )
        for (name, workload, framework), seconds in own.items()
    }


def _evaluation_shares(results: Results) -> dict[str, float]:
    evaluating: dict[str, list[float]] = defaultdict(list)
    total: dict[str, list[float]] = defaultdict(list)
    for trial in results.trials:
        run = trial.run
        if run.eval_seconds is not None and run.total_seconds:
            evaluating[trial.workload].append(run.eval_seconds)
            total[trial.workload].append(run.total_seconds)
    return {
        name: math.fsum(evaluating[name]) / math.fsum(total[name])
        for name in results.scope.workloads
        if name in total
    }


def mixed_frameworks(results: Results) -> list[str]:
    """A warning if submissions ran in several frameworks."""
    names: dict[str, set[str]] = defaultdict(set)
    for trial in results.trials:
        names[framework_of(trial)].add(trial.submission)
    names.pop("", None)
    if len(names) < 2:
        return []
    listed = "; ".join(f"{name}: {', '.join(sorted(who))}" for name, who in sorted(names.items()))
    return [
        f"submissions ran in several frameworks ({listed}): a step of the same algorithm may take "
        "several times as long in one as in another, so this board ranks frameworks too; step "
        "times are relative to submissions in the same framework"
    ]
