"""What wall-clock time went into: seconds per step, the share of evaluation, the framework."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass

from scoring.reading.results import Results, Trial


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long a step of a submission takes on a workload; a step is a call of `update_params`.

    Attributes:
        framework: "jax" or "pytorch".
        seconds: The median over its trials.
        relative: Over the median of the submissions in the same framework.
    """

    framework: str
    seconds: float
    relative: float


@dataclass(frozen=True, slots=True)
class Efficiency:
    """How results spent their time.

    Attributes:
        step_times: By submission and workload.
        evaluation_share: By workload the share of evaluations in the wall-clock time of all
            trials; only where both are on record.
    """

    step_times: dict[tuple[str, str], StepTime]
    evaluation_share: dict[str, float]


def framework_of(trial: Trial) -> str:
    """The framework that a trial's folder names, "" where it names none."""
    return trial.folder.parent.name.rpartition("_")[2] if "_" in trial.folder.parent.name else ""


def efficiency(results: Results) -> Efficiency:
    """Step times and shares of evaluation; nothing is measured on the step clock."""
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
    """A line where submissions ran in several frameworks."""
    names: dict[str, set[str]] = defaultdict(set)
    for trial in results.trials:
        names[framework_of(trial)].add(trial.submission)
    names.pop("", None)
    if len(names) < 2:
        return []
    listed = "; ".join(f"{name}: {', '.join(sorted(who))}" for name, who in sorted(names.items()))
    return [
        f"submissions ran in several frameworks ({listed}): the same algorithm's step may take "
        "several times as long in one as in the other, so that this board ranks frameworks too; "
        "step times are given relative to submissions of the same framework"
    ]
