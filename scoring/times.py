"""Computes the time to target of each submission, workload and study, by either method.

Shapes: S submissions, W workloads (those scored, then held-out variants), K studies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.reading.evaluations import Hit
from scoring.reading.results import Results, Trial
from scoring.records import Status

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Study = tuple[str, str, int]  # submission, workload, number


@dataclass(frozen=True, slots=True)
class Method:
    """How to score where AlgoPerf's written rules and its scoring script differ.

    Attributes:
        name: The value of --method.
        fastest_by_time: The fastest trial of a study counts; the script takes the one with the
            smallest evaluation index, and of several the first in the file system's order.
        missing_is_infinite: A study without a readable trial is a miss; the script leaves it out
            of the median. Trials beyond the plan do not count; the script counts them.
        budget_enforced: A target met after the budget is a miss; the script ignores the budget.
        exact_area: The area under the profile is exact; the script sums 100 trapezoids.
    """

    name: str
    fastest_by_time: bool
    missing_is_infinite: bool
    budget_enforced: bool
    exact_area: bool


RULES = Method("rules", True, True, True, True)
OFFICIAL = Method("official", False, False, False, False)
METHODS = {method.name: method for method in (RULES, OFFICIAL)}

# The order in which the file system listed trial folders when the official script scored the
# published boards: the only order of these numbers that reproduces every published time.
_LISTED = (5, 3, 1, 4, 2)


@dataclass(frozen=True, slots=True)
class StudyTimes:
    """Time to target of every study.

    Attributes:
        submissions: The names along S.
        workloads: The names along W.
        seconds_swk: Seconds of the trial that counts; infinite for a miss, NaN for a study that is
            not planned, and with the official method for one without a readable trial.
        floor_swk: Lower bounds of `seconds_swk`: below it only if a trial was pruned.
        steps_swk: Steps of that trial, which are calls of `update_params`; NaN also if unknown.
        work_swk: Training work of that trial; NaN also if unknown.
        counted: The trial that counts in each study that met the target.
        ties: The trials of a study among which the order of a folder's listing decided; only with
            the official method.
        planned_sw: The number of studies that count.
        read_sw: The number of studies of which trials were read.
    """

    submissions: list[str]
    workloads: list[str]
    seconds_swk: Floats
    floor_swk: Floats
    steps_swk: Floats
    work_swk: Floats
    counted: dict[Study, Trial]
    ties: dict[Study, list[Trial]]
    planned_sw: Integers
    read_sw: Integers


def study_times(results: Results, method: Method) -> StudyTimes:
    """Computes the time to target of every study: that of its fastest trial.

    If trials tie for the smallest evaluation index, the official script takes the one that the file
    system happens to list first; here the order is fixed, that of the published boards.
    """
    names, workloads = list(results.submissions), list(results.scope.workloads)
    counting = [t for t in results.trials if not (t.extra and method.missing_is_infinite)]
    studies = 1 + max((t.study for t in counting), default=0)
    shape = (len(names), len(workloads), max(studies, results.scope.studies))
    seconds_swk, steps_swk, work_swk = (np.full(shape, np.nan) for _ in range(3))
    floor_swk = np.full(shape, np.inf)
    hits: dict[Study, list[tuple[Trial, Hit]]] = {}
    place = {
        (name, workload): (s, w)
        for s, name in enumerate(names)
        for w, workload in enumerate(workloads)
    }
    for trial in counting:
        study = (*place[trial.submission, trial.workload], trial.study)
        if math.isnan(seconds_swk[study]):
            seconds_swk[study] = steps_swk[study] = work_swk[study] = math.inf
        if trial.status == Status.PRUNED:
            floor_swk[study] = min(floor_swk[study], trial.ended)
        if trial.hit is not None and (trial.within_budget or not method.budget_enforced):
            key = (trial.submission, trial.workload, trial.study)
            hits.setdefault(key, []).append((trial, trial.hit))
    counted: dict[Study, Trial] = {}
    ties: dict[Study, list[Trial]] = {}
    for key, found in hits.items():
        counted[key], first = min(found, key=_order(method))
        study = (*place[key[:2]], key[2])
        seconds_swk[study] = first.submission_seconds
        if first.global_step is not None:
            steps_swk[study] = first.global_step
        if first.work is not None:
            work_swk[study] = first.work
        same = [trial for trial, hit in found if hit.evaluation == first.evaluation]
        if len(same) > 1 and not method.fastest_by_time:
            ties[key] = same
    read_sw = np.count_nonzero(~np.isnan(seconds_swk), axis=-1)
    planned_sw = np.full(shape[:2], shape[2])
    for study_place, count in results.scope.counts.items():
        planned_sw[place[study_place]] = count
    if method.missing_is_infinite:
        is_missing_swk = np.arange(shape[2]) < planned_sw[..., None]
        is_missing_swk &= np.isnan(seconds_swk)
        for values_swk in (seconds_swk, steps_swk, work_swk):
            values_swk[is_missing_swk] = math.inf
    return StudyTimes(
        submissions=names,
        workloads=workloads,
        seconds_swk=seconds_swk,
        floor_swk=np.minimum(floor_swk, seconds_swk),
        steps_swk=steps_swk,
        work_swk=work_swk,
        counted=counted,
        ties=ties,
        planned_sw=planned_sw,
        read_sw=read_sw,
    )


def _order(method: Method) -> Callable[[tuple[Trial, Hit]], tuple[float, ...]]:
    """The sort key of trials that met the target; the smallest counts."""

    def by_time(found: tuple[Trial, Hit]) -> tuple[float, ...]:
        trial, hit = found
        return (hit.submission_seconds, trial.trial)

    def by_evaluation(found: tuple[Trial, Hit]) -> tuple[float, ...]:
        trial, hit = found
        known = trial.trial in _LISTED
        listed = _LISTED.index(trial.trial) if known else len(_LISTED) + trial.trial
        return (hit.evaluation, listed)

    return by_time if method.fastest_by_time else by_evaluation


def medians(values_k: Floats) -> Floats:
    """The median over the last axis, ignoring NaN; NaN if all values are.

    With an even number of studies it is the mean of the middle two, and infinite if either is.
    """
    ordered = np.sort(values_k, axis=-1)  # NaN last
    count = np.maximum(1, np.count_nonzero(~np.isnan(ordered), axis=-1))
    lower = np.take_along_axis(ordered, (count[..., None] - 1) // 2, axis=-1)[..., 0]
    upper = np.take_along_axis(ordered, count[..., None] // 2, axis=-1)[..., 0]
    return np.where(lower == upper, lower, (lower + upper) / 2)
