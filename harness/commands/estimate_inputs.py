"""Reads what an estimate is based on: a request or a results tree, and earlier records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.spec import Progress
from scoring.records import ClockKind, Pruning, RunOptions, Until, UserError

if TYPE_CHECKING:
    from harness.commands.estimate import Estimate, Record
    from harness.sweep.request import Request
    from scoring.experiment import Experiment
    from scoring.reading.results import Results, Trial
    from scoring.records import TrialSpec
    from scoring.rulesets import Ruleset

_UNKNOWN = (
    "What pruning saves cannot be estimated without records (--records). For comparison: on the "
    "logs of AlgoPerf's v0.5 competition it is 38% of the hours (`chronograd replay`)."
)


def estimate_request(
    request: Request, trees: Sequence[Path], slots: int | None, progress: Progress
) -> tuple[Estimate, list[str]]:
    """Estimates the hours of a sweep that has not started; returns notes for the user as well.

    Args:
        request: The sweep.
        trees: Results trees or official logs with recorded trials.
        slots: Number of trials that run at once; None for as many as fit on this machine.
        progress: Called while data is prepared.
    """
    import workloads
    from harness.commands.estimate import RecordedSteps
    from harness.sweep.request import plan

    by_steps = request.ruleset.by_steps
    if by_steps:  # takes its steps as baseline steps, whose seconds are known or timed here
        rules = request.ruleset.model_copy(update={"by_steps": False})
        request = replace(request, ruleset=rules)
    draft = plan(request, workloads.get)
    known = _read(trees, draft.ruleset, draft.tuning, _hardware(draft.options))
    with tempfile.TemporaryDirectory() as nowhere:
        executor = RecordedSteps(workloads.get, known.steps, progress)
        experiment = draft.complete(Path(nowhere), executor)
    notes = []
    if executor.timed:
        notes.append(
            f"Budgets of {', '.join(executor.timed)} are in baseline steps, which were timed here."
        )
    found, more = _by_share(experiment, list(experiment.specs()), known, slots, by_steps)
    return found, notes + more


def _by_share(
    experiment: Experiment, left: list[TrialSpec], known: _Known, slots: int | None, by_steps: bool
) -> tuple[Estimate, list[str]]:
    """Estimates the hours of trials of which none has run, assuming the share of records."""
    from harness.commands.estimate import estimate

    share, pruned = None if by_steps else known.share_run(), None
    if by_steps:
        note = "Nothing is pruned: all trials end at the same step."
    elif share is None:
        note = _UNKNOWN
    else:
        note = (
            f"Pruning would have saved {1 - share:.1%} of the recorded hours, replayed with likely "
            "winners first. The same share is assumed for all trials; slow submissions save more."
        )
        pruned = partial(_times, share)
    slots = slots or slots_here(experiment)
    found = estimate(experiment, left, known.records, slots, pruned)
    return found, [note, *_notes(found, experiment)]


def estimate_left(
    out: Path, trees: Sequence[Path], slots: int | None
) -> tuple[Estimate, list[str]]:
    """Estimates the hours of the remaining trials of the sweep in `out`; returns notes as well."""
    from harness.sweep.options import SweepOptions
    from harness.sweep.restore import last_options, remaining
    from scoring.experiment import Experiment

    experiment = Experiment.read(out)
    pruning = (last_options(out) or SweepOptions()).pruning
    left = remaining(out, experiment, is_pruned=pruning is not Pruning.OFF)
    return _by_deadlines(experiment, out, left, trees, slots)


def estimate_preview(
    experiment: Experiment,
    out: Path,
    left: list[TrialSpec],
    history: Sequence[Path],
    slots: int,
    *,
    is_pruned: bool,
) -> tuple[Estimate, list[str]]:
    """Estimates the hours of a sweep from what is known already, without timing a step.

    Args:
        experiment: The plan, which may extend that of `out`.
        out: The results tree; it need not exist.
        left: The trials of the plan that are still to run.
        history: Other results trees.
        slots: Number of trials that run at once.
        is_pruned: Whether trials may be pruned.
    """
    from harness.commands.estimate import estimate
    from scoring.tree import EXPERIMENT_FILE

    by_steps = experiment.ruleset.by_steps
    in_seconds = experiment.options.clock is ClockKind.WALL and not by_steps
    has_records = (out / EXPERIMENT_FILE).is_file() and in_seconds
    if has_records and is_pruned:
        return _by_deadlines(experiment, out, left, (), slots)
    trees = [*[out] * has_records, *history] if in_seconds else []
    hardware = _hardware(experiment.options)
    try:
        known, notes = _read(trees, experiment.ruleset, experiment.tuning, hardware), []
    except UserError as error:  # they can be used for predictions, but have no hours for this
        known, notes = _Known([], {}, []), [str(error)]
    if is_pruned:
        found, more = _by_share(experiment, left, known, slots, by_steps)
        return found, notes + more
    found = estimate(experiment, left, known.records, slots)
    return found, [*notes, "Nothing is pruned.", *_notes(found, experiment)]


def _by_deadlines(
    experiment: Experiment,
    out: Path,
    left: list[TrialSpec],
    trees: Sequence[Path],
    slots: int | None,
) -> tuple[Estimate, list[str]]:
    """Estimates the hours of trials of `out`, with deadlines that follow from its results."""
    from harness.commands.estimate import estimate
    from harness.sweep.pruner import Pruner

    hardware = _hardware(experiment.options)
    known = _read([out, *trees], experiment.ruleset, experiment.tuning, hardware)
    pruned = None
    notes = []
    if experiment.options.until is Until.VALIDATION:
        pruner = Pruner(experiment, out)
        begins = {spec.key for spec in experiment.specs() if not pruner.is_done(spec)}
        pruned = partial(_until_deadline, pruner.deadline, begins)
        notes.append(
            "With pruning: an upper bound, from deadlines that follow from the trials that have "
            "ended; it falls as more trials end."
        )
    slots = slots or slots_here(experiment)
    found = estimate(experiment, left, known.records, slots, pruned)
    return found, notes + _notes(found, experiment)


@dataclass(frozen=True, slots=True)
class _Known:
    """The recorded trials of results trees and official logs."""

    records: list[Record]
    steps: Mapping[str, float]  # the baseline's seconds per step, by workload
    results: list[Results]

    def share_run(self) -> float | None:
        """Returns the share of the recorded hours that pruning would have run; None if unknown."""
        import numpy as np

        from scoring.replay import replay

        logged = run = 0.0
        for results in self.results:
            trials = [_unpruned(trial) for trial in results.trials]
            logs, policies = replay(replace(results, trials=trials))
            logged += float(np.minimum(logs.logged, logs.met).sum()) / 3600
            run += next(policy.hours for policy in policies if policy.order == "cost")
        return run / logged if logged else None


def _read(trees: Sequence[Path], ruleset: Ruleset, tuning: str, hardware: str) -> _Known:
    """Reads records; `ruleset` applies to official logs.

    Raises:
        UserError: A tree was measured on other hardware, or ran on the step clock.
    """
    from scoring.experiment import Experiment
    from scoring.reading.read import read
    from scoring.tree import EXPERIMENT_FILE

    steps: dict[str, float] = {}
    known = _Known([], steps, [])
    for tree in trees:
        planned: dict[str, float] = {}
        if (tree / EXPERIMENT_FILE).is_file():
            experiment = Experiment.read(tree)
            theirs = _hardware(experiment.options)
            if experiment.options.clock is not ClockKind.WALL:
                theirs = "the step clock, which measures no seconds"
            if theirs != hardware:
                raise UserError(
                    f"{tree}: ran on {theirs}; an estimate for {hardware} needs records from there"
                )
            planned = {
                name: rules.baseline_step_seconds
                for name, rules in experiment.workloads.items()
                if rules.baseline_step_seconds is not None
            }
            results = read([tree])
        else:
            results = read([tree], ruleset, tuning)
        steps |= {name: step for name, step in planned.items() if name not in steps}
        known.records.extend(_record(trial, planned) for trial in results.trials)
        known.results.append(results)
    return known


def _record(trial: Trial, steps: Mapping[str, float]) -> Record:
    from harness.commands.estimate import Record

    read = trial.read()
    totals = read.column("total_duration")
    met = trial.hit is not None and trial.within_budget
    return Record(
        submission=trial.submission,
        workload=trial.workload,
        goal=trial.criteria.goal,
        status="reached" if met else trial.status,
        seconds=trial.hit.submission_seconds if met and trial.hit else trial.submission_seconds,
        evaluated_seconds=read.seconds[-1] if read.seconds else 0.0,
        total_seconds=totals[-1] if totals else float("nan"),
        step_seconds=steps.get(trial.workload),
    )


def _unpruned(trial: Trial) -> Trial:
    """Returns a trial with its complete budget if it was pruned."""
    if trial.status != "pruned":
        return trial
    return replace(trial, submission_seconds=trial.criteria.budget_seconds)


def _times(share: float, spec: TrialSpec, seconds: float) -> float:
    return share * seconds


def _until_deadline(
    deadline: Callable[[TrialSpec], float], begins: set[str], spec: TrialSpec, seconds: float
) -> float:
    """Returns the seconds of a trial until its deadline; 0 if it is not started."""
    return min(seconds, deadline(spec)) if spec.key in begins else 0.0


def _hardware(options: RunOptions) -> str:
    """Describes the hardware of a trial."""
    if gpus := options.gpus_per_trial:
        return f"{gpus} GPU{'s' * (gpus > 1)} per trial"
    count = options.processes
    return "the CPU" if count == 1 else f"the CPU in {count} processes per trial"


def slots_here(experiment: Experiment) -> int:
    """Returns how many trials fit on this machine at once."""
    import torch

    from harness.commands.machine import usable_cores
    from harness.executors.resources import TrialResources

    here = {"CPU": usable_cores(), "GPU": torch.cuda.device_count()}
    return max(1, TrialResources.of(experiment.options).fits(here))


def _notes(found: Estimate, experiment: Experiment) -> list[str]:
    notes = []
    if experiment.counts is not None:
        notes.append(
            "With --studies auto, these trials run in any case: results decide how many more do, "
            f"up to {experiment.studies} studies per submission and workload."
        )
    if any(cell.source == "complete budgets" for cell in found.cells):
        notes.append("Complete budgets are upper bounds: trials end when they reach their goals.")
    if found.without_evaluation:
        names = ", ".join(found.without_evaluation)
        notes.append(f"The hours of {names} do not include evaluation: no record has its time.")
    return notes
