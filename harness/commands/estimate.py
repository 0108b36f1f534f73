"""How many hours a sweep takes: from trials on record, or else from its budgets.

A trial's seconds are its submission clock. Where records tell how long evaluation took, hours
include it; the start of a trial's process is in none.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.executors.local import ThisProcess
from harness.spec import LoadWorkload, Progress
from scoring.experiment import Experiment
from scoring.records import Goal, Status, TrialSpec, UserError

_CUT_OFF = (Status.FAILED, Status.INTERRUPTED, Status.STEP_LIMIT)  # say nothing of a whole trial
_WHOLE_BUDGET = (Status.OUT_OF_TIME, Status.PRUNED)  # would have used any budget, if not pruned


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A trial that ended.

    Attributes:
        submission: Its name.
        workload: Likewise.
        goal: What it had to reach.
        status: How it ended; of other harnesses' logs "missed" too.
        seconds: Until it reached the goal, or ended; of the submission clock.
        evaluated_seconds: The submission clock at its last evaluation.
        total_seconds: Everything included, at that time; NaN where it is not known.
        step_seconds: The baseline's step where it ran; None where budgets are official seconds.
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
        workload: Its name.
        submission: Likewise.
        trials: How many there are to run.
        hours: That they take.
        pruned_hours: With pruning; None where that is not known.
        source: Where the hours come from.
    """

    workload: str
    submission: str
    trials: int
    hours: float
    pruned_hours: float | None
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """What a sweep takes in all.

    Attributes:
        trials: Hours of all trials, one after the other.
        wall: Hours on the wall, trials side by side in every slot.
        gpus: GPU hours.
    """

    trials: float
    wall: float
    gpus: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The hours of a sweep.

    Attributes:
        cells: By workload and submission.
        hours: In all.
        pruned: With pruning; None where that is not known.
        slots: How many trials run side by side.
        without_evaluation: Workloads whose hours are of the submission clock alone.
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
    """The hours of trials of an experiment.

    A trial takes the mean of its submission's trials on record on that workload, else of any
    submission's, else its whole budget, which is the most it can take.

    Args:
        experiment: The plan.
        left: The trials of it that are still to run, in their order.
        records: What is known; only trials with the plan's goals count.
        slots: How many trials run side by side.
        pruned: How many seconds of a trial, of so many, are run with pruning; None: not known.
    """
    shares = {name: evaluation(records, name) for name in experiment.workloads}
    groups: dict[tuple[str, str], list[TrialSpec]] = defaultdict(list)
    for spec in left:
        groups[spec.workload, spec.submission].append(spec)
    cells: list[Cell] = []
    whole: dict[str, float] = {}
    cut: dict[str, float] = {}
    for (workload, submission), specs in groups.items():
        step = experiment.workloads[workload].baseline_step_seconds
        seconds, source = expected(specs[0], records, step)
        share = shares[workload] or 1.0
        whole |= {spec.key: share * seconds for spec in specs}
        if pruned is not None:
            cut |= {spec.key: share * pruned(spec, seconds) for spec in specs}
        cell = Cell(
            workload=workload,
            submission=submission,
            trials=len(specs),
            hours=_hours(whole, specs),
            pruned_hours=None if pruned is None else _hours(cut, specs),
            source=source,
        )
        cells.append(cell)
    gpus = experiment.options.gpus_per_trial
    return Estimate(
        cells=cells,
        hours=_in_all([whole[spec.key] for spec in left], slots, gpus),
        pruned=None if pruned is None else _in_all([cut[s.key] for s in left], slots, gpus),
        slots=slots,
        without_evaluation=[n for n in experiment.workloads if shares[n] is None],
    )


def expected(
    spec: TrialSpec, records: Sequence[Record], step_seconds: float | None
) -> tuple[float, str]:
    """The seconds of a trial, and where they come from.

    Args:
        spec: The trial.
        records: What is known.
        step_seconds: The baseline's step where the trial will run. Where a record has one too, its
            seconds are scaled by the ratio of both: machines differ.
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
    """All the seconds of a workload's trials over those of their submission clock; None: unknown.

    Of all submissions alike, since evaluations come at a fixed period of that clock.
    """
    timed = [r for r in records if r.workload == workload and r.total_seconds > 0]
    clock = sum(record.evaluated_seconds for record in timed)
    return sum(record.total_seconds for record in timed) / clock if clock > 0 else None


def makespan(seconds: Sequence[float], slots: int) -> float:
    """Seconds until all trials are done, begun in order, each in the slot that is free first."""
    free = [0.0] * slots
    for length in seconds:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def _in_budget(record: Record, budget_seconds: float, step_seconds: float | None) -> float:
    """How long a trial on record would run on the budget, and the machine, of the plan."""
    if record.status in _WHOLE_BUDGET:
        return budget_seconds
    scale = step_seconds / record.step_seconds if step_seconds and record.step_seconds else 1.0
    return min(scale * record.seconds, budget_seconds)


def _hours(seconds: Mapping[str, float], specs: Sequence[TrialSpec]) -> float:
    return sum(seconds[spec.key] for spec in specs) / 3600


def _in_all(seconds: Sequence[float], slots: int, gpus_per_trial: int) -> Hours:
    trials = sum(seconds) / 3600
    wall = makespan(seconds, slots) / 3600
    return Hours(trials=trials, wall=wall, gpus=trials * gpus_per_trial)


class RecordedSteps(ThisProcess):
    """Gives the baseline's step as it is on record, and times it here where it is not.

    Args:
        load_workload: Gives the workload of a name, data directory and device.
        recorded: The steps on record: seconds by workload.
        progress: Hears of data that is made ready.

    Attributes:
        timed: The workloads whose step was timed here.
    """

    def __init__(
        self, load_workload: LoadWorkload, recorded: Mapping[str, float], progress: Progress
    ) -> None:
        super().__init__(load_workload)
        self._load, self._recorded, self._progress = load_workload, recorded, progress
        self.timed: list[str] = []

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Seconds of a step of `spec`; by node type, where "" stands for records.

        Raises:
            UserError: It cannot be timed here.
        """
        if spec.workload in self._recorded:
            return {"": self._recorded[spec.workload]}
        import torch

        no_gpu = spec.device == "cuda" and not torch.cuda.is_available()
        if no_gpu or spec.processes > 1:
            lacks = "there is no GPU here" if no_gpu else "several processes need a cluster"
            raise UserError(
                f"{spec.workload}: its budget is in baseline steps, and {lacks} to time one; give "
                "--records of a sweep on such hardware"
            )
        workload = self._load(spec.workload, spec.data_dir, spec.device)
        workload.check_data()
        workload.prepare_data(self._progress)
        self.timed.append(spec.workload)
        return super().time_baseline(spec)
