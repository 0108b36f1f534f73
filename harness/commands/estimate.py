"""Estimates the hours of a sweep: from recorded trials, or else from budgets.

A trial's seconds are those of its submission clock. Hours include evaluation if records show how
long it took. The start of a trial's process is never included.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.executors.local import LocalExecutor
from harness.spec import LoadWorkload, Progress
from scoring.experiment import Experiment
from scoring.records import Goal, Status, TrialSpec, UserError

_CUT_OFF = (Status.FAILED, Status.INTERRUPTED, Status.STEP_LIMIT)  # ended before a complete trial
_FULL_BUDGET = (Status.OUT_OF_TIME, Status.PRUNED)  # would have used any budget, if not pruned


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A recorded trial.

    Attributes:
        submission: Name of the submission.
        workload: Name of the workload.
        goal: The goal of the trial.
        status: How it ended; in logs of other harnesses also "missed".
        seconds: Submission time until it reached the goal, or ended.
        evaluated_seconds: Submission time at its last evaluation.
        total_seconds: Total time at its last evaluation; NaN if unknown.
        step_seconds: The baseline's seconds per step on its machine; None if budgets are in
            official seconds.
    """

    submission: str
    workload: str
    goal: Goal
    status: str
    seconds: float
    evaluated_seconds: float
    total_seconds: float
    step_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """The trials of one submission on one workload.

    Attributes:
        workload: Name of the workload.
        submission: Name of the submission.
        trials: Number of trials to run.
        hours: Hours that they take.
        pruned_hours: Hours that they take with pruning; None if unknown.
        source: What the hours are based on.
    """

    workload: str
    submission: str
    trials: int
    hours: float
    pruned_hours: float | None
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """Total hours of a sweep.

    Attributes:
        trials: Sum of the hours of all trials.
        wall: Wall-clock hours, with one trial at a time in every slot.
        gpus: GPU hours.
    """

    trials: float
    wall: float
    gpus: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The hours of a sweep.

    Attributes:
        cells: The hours by workload and submission.
        hours: Total hours.
        pruned: Total hours with pruning; None if unknown.
        slots: Number of trials that run at once.
        without_evaluation: Workloads whose hours do not include evaluation.
    """

    cells: list[Cell]
    hours: Hours
    pruned: Hours | None
    slots: int
    without_evaluation: list[str]


def estimate(
    experiment: Experiment,
    left: Sequence[TrialSpec],
    records: Sequence[Record],
    slots: int,
    pruned: Callable[[TrialSpec, float], float] | None = None,
) -> Estimate:
    """Estimates the hours of trials of an experiment.

    A trial takes the mean of the recorded trials of its submission on its workload; if there are
    none, of all submissions; if there are none either, its complete budget, which is an upper
    bound.

    Args:
        experiment: The plan.
        left: The trials of the plan that are still to run, in their order.
        records: Recorded trials; only those with the plan's goals are used.
        slots: Number of trials that run at once.
        pruned: Returns the seconds of a trial with pruning, given the trial and its seconds
            without; None if unknown.
    """
    shares = {name: evaluation(records, name) for name in experiment.workloads}
    groups: dict[tuple[str, str], list[TrialSpec]] = defaultdict(list)
    for spec in left:
        groups[spec.workload, spec.submission].append(spec)
    cells: list[Cell] = []
    full: dict[str, float] = {}
    cut: dict[str, float] = {}
    for (workload, submission), specs in groups.items():
        step = experiment.workloads[workload].baseline_step_seconds
        seconds, source = expected(specs[0], records, step)
        share = shares[workload] or 1.0
        full |= {spec.key: share * seconds for spec in specs}
        if pruned is not None:
            cut |= {spec.key: share * pruned(spec, seconds) for spec in specs}
        cell = Cell(
            workload=workload,
            submission=submission,
            trials=len(specs),
            hours=_hours(full, specs),
            pruned_hours=None if pruned is None else _hours(cut, specs),
            source=source,
        )
        cells.append(cell)
    gpus = experiment.options.gpus_per_trial
    return Estimate(
        cells=cells,
        hours=_total([full[spec.key] for spec in left], slots, gpus),
        pruned=None if pruned is None else _total([cut[s.key] for s in left], slots, gpus),
        slots=slots,
        without_evaluation=[n for n in experiment.workloads if shares[n] is None],
    )


def expected(
    spec: TrialSpec, records: Sequence[Record], step_seconds: float | None
) -> tuple[float, str]:
    """Returns the estimated seconds of a trial, and what they are based on.

    Args:
        spec: The trial.
        records: Recorded trials.
        step_seconds: The baseline's seconds per step on the machine that will run the trial. The
            seconds of a record with such a value are scaled by the ratio of the two.
    """
    fitting = [
        record
        for record in records
        if (record.workload, record.goal) == (spec.workload, spec.goal)
        and record.status not in _CUT_OFF
    ]
    own = [record for record in fitting if record.submission == spec.submission]
    chosen = own or fitting
    if not chosen:
        return spec.budget_seconds, "complete budgets"
    seconds = fmean(_in_budget(record, spec.budget_seconds, step_seconds) for record in chosen)
    whose = "" if own else " of other submissions"
    return seconds, f"{len(chosen)} recorded trial{'s' * (len(chosen) > 1)}{whose}"


def evaluation(records: Sequence[Record], workload: str) -> float | None:
    """Returns the ratio of total time to submission time on a workload; None if unknown.

    It is the same for all submissions, because evaluations have a fixed period of submission time.
    """
    timed = [r for r in records if r.workload == workload and r.total_seconds > 0]
    clock = sum(record.evaluated_seconds for record in timed)
    return sum(record.total_seconds for record in timed) / clock if clock > 0 else None


def makespan(seconds: Sequence[float], slots: int) -> float:
    """Returns the seconds until all trials are done, each started in the first free slot."""
    free = [0.0] * slots
    for length in seconds:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def _in_budget(record: Record, budget_seconds: float, step_seconds: float | None) -> float:
    """Returns how long a recorded trial would run with the budget and machine of the plan."""
    if record.status in _FULL_BUDGET:
        return budget_seconds
    scale = step_seconds / record.step_seconds if step_seconds and record.step_seconds else 1.0
    return min(scale * record.seconds, budget_seconds)


def _hours(seconds: Mapping[str, float], specs: Sequence[TrialSpec]) -> float:
    return sum(seconds[spec.key] for spec in specs) / 3600


def _total(seconds: Sequence[float], slots: int, gpus_per_trial: int) -> Hours:
    trials = sum(seconds) / 3600
    wall = makespan(seconds, slots) / 3600
    return Hours(trials=trials, wall=wall, gpus=trials * gpus_per_trial)


class RecordedSteps(LocalExecutor):
    """Takes the baseline's seconds per step from records, or else measures them here.

    Args:
        load_workload: Loads a workload, given its name, the data directory and the device.
        recorded: Recorded seconds per step, by workload.
        progress: Called while data is prepared.

    Attributes:
        timed: The workloads on which steps were timed here.
    """

    def __init__(
        self, load_workload: LoadWorkload, recorded: Mapping[str, float], progress: Progress
    ) -> None:
        super().__init__(load_workload)
        self._load, self._recorded, self._progress = load_workload, recorded, progress
        self.timed: list[str] = []

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Returns the seconds per step of `spec` by node type, which is "" for records.

        Raises:
            UserError: The step cannot be timed here.
        """
        if spec.workload in self._recorded:
            return {"": self._recorded[spec.workload]}
        import torch

        no_gpu = spec.device == "cuda" and not torch.cuda.is_available()
        if no_gpu or spec.processes > 1:
            why = "there is no GPU here" if no_gpu else "several processes need a cluster"
            raise UserError(
                f"{spec.workload}: its budget is in baseline steps, and {why} to time one; pass "
                "--records of a sweep on the same hardware"
            )
        workload = self._load(spec.workload, spec.data_dir, spec.device)
        workload.check_data()
        workload.prepare_data(self._progress)
        self.timed.append(spec.workload)
        return super().time_baseline(spec)
