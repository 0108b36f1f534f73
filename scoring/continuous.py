"""Scores beside the target: speed-up over a baseline's whole curve, learning-rate sensitivity.

A time to target uses one crossing of each run. These use all evaluations, so that they also tell
apart submissions of which none reaches the target. They do not change scores or ranks.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scoring.hyperparameters import as_number
from scoring.names import known_names
from scoring.profiles import Floats
from scoring.reading.results import Results, Trial
from scoring.records import RecordError, Status
from scoring.times import RULES, study_times

LEARNING_RATES = ("learning_rate", "lr")
FEWEST_RATES = 3  # different learning rates that a sensitivity needs
Key = tuple[str, str]  # submission and workload


@dataclass(frozen=True, slots=True)
class CurveSpeedup:
    """How much faster a submission passes what a baseline passes on a workload.

    Attributes:
        factor: The baseline's time to a value of the metric over the submission's, above 1 for a
            faster submission: the geometric mean over the values that the submission had at its
            evaluations and the baseline passed too, then over studies; NaN if there are none.
        passed: The share of the baseline's values that it passes, in the mean over studies.
        studies: The number of studies that both have.
    """

    factor: float
    passed: float
    studies: int


@dataclass(frozen=True, slots=True)
class Continuous:
    """Scores beside the target.

    Attributes:
        baseline: The submission whose curves are the measure; "" if there is none.
        speedups: The speed-up over its curves, by submission and workload.
        sensitivities: Learning-rate sensitivity from 0 (all rates do as well as the best) to 1
            (only the best trains at all), by submission and workload.
    """

    baseline: str
    speedups: Mapping[Key, CurveSpeedup]
    sensitivities: Mapping[Key, float]


def continuous(results: Results, baseline: str | None = None) -> Continuous:
    """Computes the scores beside the target.

    Args:
        results: The results.
        baseline: A submission; None for the ruleset's baseline, if it is among the results.

    Raises:
        RecordError: There is no submission `baseline`.
    """
    names = list(results.submissions)
    if baseline is not None and baseline not in names:
        known = known_names(baseline, names)
        raise RecordError(f"no submission {baseline!r} to compare with. {known}")
    own = results.scope.ruleset.baseline.rpartition("/")[2]
    chosen = baseline or (own if own in names else "")
    curves = {trial.folder: _Curve.of(trial) for trial in results.trials if not trial.extra}
    return Continuous(chosen, _speedups(results, chosen, curves), _sensitivities(results, curves))


@dataclass(frozen=True, slots=True)
class _Curve:
    """A trial's best metric so far, less being better, at each evaluation that improved it.

    Attributes:
        first: The metric at the first evaluation that has one; infinite if there is none.
        seconds: The submission clock.
        values: The metric, falling.
    """

    first: float
    seconds: Floats
    values: Floats

    @classmethod
    def of(cls, trial: Trial) -> _Curve:
        """The curve of a trial."""
        read = trial.read()
        value_e = np.array(read.values, dtype=np.float64)
        if trial.criteria.goal.direction == "max":
            value_e = -value_e
        finite_e = np.isfinite(value_e)
        value_e, second_e = value_e[finite_e], np.array(read.seconds, dtype=np.float64)[finite_e]
        before_e = np.minimum.accumulate(np.concatenate([[np.inf], value_e]))[:-1]
        better_e = value_e < before_e
        first = float(value_e[0]) if len(value_e) else math.inf
        return cls(first, second_e[better_e], value_e[better_e])

    @property
    def best(self) -> float:
        """The best metric; infinite if there is none."""
        return float(self.values[-1]) if len(self.values) else math.inf

    def times(self, values: Floats) -> Floats:
        """When it passes values between its first and its best, interpolated."""
        times: Floats = np.interp(-values, -self.values, self.seconds)  # -self.values rise
        return times


def _speedups(
    results: Results, baseline: str, curves: Mapping[Path, _Curve]
) -> dict[Key, CurveSpeedup]:
    """The speed-up of every submission over the baseline, on scored workloads."""
    if not baseline:
        return {}
    chosen = _chosen(results, curves)
    found: dict[Key, CurveSpeedup] = {}
    for name in results.submissions:
        for workload in results.scope.scored:
            factors, shares = [], []
            for study in range(results.scope.studies):
                theirs = chosen.get((baseline, workload, study))
                ours = chosen.get((name, workload, study))
                if theirs is None or ours is None or len(theirs.values) < 2:
                    continue
                log_ratios = _log_ratios(theirs, ours)
                shares.append(float((ours.best <= theirs.values).mean()))
                if len(log_ratios):
                    factors.append(float(log_ratios.mean()))
            if shares:
                factor = math.exp(statistics.fmean(factors)) if factors else math.nan
                found[name, workload] = CurveSpeedup(factor, statistics.fmean(shares), len(shares))
    return found


def _chosen(results: Results, curves: Mapping[Path, _Curve]) -> dict[tuple[str, str, int], _Curve]:
    """The curve of each study: of the trial that counts, else of the one with the best metric."""
    counted = study_times(results, RULES).counted
    studies: dict[tuple[str, str, int], list[Trial]] = defaultdict(list)
    for trial in results.trials:
        if not trial.extra:
            studies[trial.submission, trial.workload, trial.study].append(trial)
    return {
        key: curves[counted[key].folder]
        if key in counted
        else min((curves[trial.folder] for trial in trials), key=lambda curve: curve.best)
        for key, trials in studies.items()
    }


def _log_ratios(baseline: _Curve, own: _Curve) -> Floats:
    """Log of the baseline's time over the submission's, at the submission's evaluations.

    The first evaluation is left out, as it is before or soon after the first step.
    """
    value_e, second_e = own.values[1:], own.seconds[1:]
    passed_e = (value_e < baseline.values[0]) & (value_e >= baseline.best) & (second_e > 0)
    log_ratios: Floats = np.log(baseline.times(value_e[passed_e]) / second_e[passed_e])
    return log_ratios


def _sensitivities(results: Results, curves: Mapping[Path, _Curve]) -> dict[Key, float]:
    """Learning-rate sensitivity after Wortsman et al. 2023 (arXiv 2309.14322, section 2.2).

    The mean over trials of how far the best metric of each is from that of the best trial, as a
    share of what the best trial gained; a trial that diverged or got worse counts as 1. Other
    hyperparameters vary too, so it is that of the search space's learning rates as they were
    sampled. Trials that were pruned are left out.
    """
    by_key: dict[Key, list[tuple[float, _Curve]]] = defaultdict(list)
    for trial in results.trials:
        if (
            trial.extra
            or trial.status == Status.PRUNED
            or trial.workload not in results.scope.scored
        ):
            continue
        point = trial.hyperparameters
        rates = [as_number(point[name]) for name in LEARNING_RATES if name in point]
        if rates and rates[0] is not None:
            by_key[trial.submission, trial.workload].append((rates[0], curves[trial.folder]))
    found = {}
    for key, tried in by_key.items():
        best = min(curve.best for _, curve in tried)
        starts = [curve.first for _, curve in tried if math.isfinite(curve.first)]
        if len({rate for rate, _ in tried}) < FEWEST_RATES or not starts:
            continue
        start = statistics.median(starts)
        if start > best:
            lost = [min(1.0, (curve.best - best) / (start - best)) for _, curve in tried]
            found[key] = statistics.fmean(lost)
    return found
