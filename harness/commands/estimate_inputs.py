"""What an estimate is made from: a request or a results tree, and earlier records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.spec import Progress
from scoring.records import ClockKind, RunOptions, Until

if TYPE_CHECKING:
    from harness.commands.estimate import Estimate, Record
    from harness.sweep.request import Request
    from scoring.experiment import Experiment
    from scoring.reading.results import Results, Trial
    from scoring.records import TrialSpec
    from scoring.rulesets import Ruleset

_UNKNOWN = (
    "What pruning saves cannot be known without records (--records). To give an idea: on the logs "
    "of AlgoPerf's v0.5 competition it is 38% of the hours (`chronograd replay`)."
)


def estimate_request(
    request: Request, trees: Sequence[Path], slots: int | None, progress: Progress
) -> tuple[Estimate, list[str]]:
    """The hours of a sweep that has not started, and what to know of them.

    Args:
        request: The sweep.
        trees: Results trees, or official logs, to learn from.
        slots: How many trials run at once; None for what fits on this machine.
        progress: Is called while data is prepared.
    """
    import workloads
    from harness.commands.estimate import RecordedSteps, estimate
    from harness.sweep.request import plan

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
    share, pruned = known.share_run(), None
    if share is None:
        notes.append(_UNKNOWN)
    else:
        notes.append(
            f"Pruning would have saved {1 - share:.1%} of the records' hours, replayed with likely "
            "winners first; that share is taken off everywhere, though slow submissions save most."
        )
        pruned = partial(_times, share)
    left = list(experiment.specs())
    slots = slots or _slots_here(experiment)
    found = estimate(experiment, left, known.records, slots, pruned)
    return found, notes + _notes(found)


def estimate_left(
    out: Path, trees: Sequence[Path], slots: int | None
) -> tuple[Estimate, list[str]]:
    """The hours of what is left of the sweep in `out`, and what to know of them."""
    from harness.commands.estimate import estimate
    from harness.sweep.pruner import Pruner
    from harness.sweep.restore import remaining
    from scoring.experiment import Experiment

    experiment = Experiment.read(out)
    hardware = _hardware(experiment.options)
    known = _read([out, *trees], experiment.ruleset, experiment.tuning, hardware)
    pruned = None
    notes = []
    if experiment.options.until is Until.VALIDATION:
        pruner = Pruner(experiment, out)
        begins = {spec.key for spec in experiment.specs() if not pruner.is_done(spec)}
        pruned = partial(_until_deadline, pruner.deadline, begins)
        notes.append(
            "With pruning: at most, by the deadlines that follow from the trials that have ended; "
            "they come nearer as more end."
        )
    slots = slots or _slots_here(experiment)
    found = estimate(experiment, remaining(out, experiment), known.records, slots, pruned)
    return found, notes + _notes(found)


@dataclass(frozen=True, slots=True)
class _Known:
    """What results trees, and official logs, tell."""

    records: list[Record]
    steps: Mapping[str, float]  # the baseline's, by workload
    results: list[Results]

    def share_run(self) -> float | None:
        """The share of the recorded hours that pruning would have left; None without any."""
        import numpy as np

        from scoring.replay import replay

        whole = run = 0.0
        for results in self.results:
            trials = [_unpruned(trial) for trial in results.trials]
            logs, policies = replay(replace(results, trials=trials))
            whole += float(np.minimum(logs.logged, logs.met).sum()) / 3600
            run += next(policy.hours for policy in policies if policy.order == "cost")
        return run / whole if whole else None


def _read(trees: Sequence[Path], ruleset: Ruleset, tuning: str, hardware: str) -> _Known:
    """Reads records; official logs are judged by `ruleset`.

    Raises:
        UserError: A tree was measured on other hardware, or not measured at all.
    """
    from scoring.experiment import Experiment
    from scoring.reading.read import read
    from scoring.records import UserError
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
                    f"{tree}: ran on {theirs}; an estimate for {hardware} needs records of that"
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
    """A trial as it would have run at most."""
    if trial.status != "pruned":
        return trial
    return replace(trial, submission_seconds=trial.criteria.budget_seconds)


def _times(share: float, spec: TrialSpec, seconds: float) -> float:
    return share * seconds


def _until_deadline(
    deadline: Callable[[TrialSpec], float], begins: set[str], spec: TrialSpec, seconds: float
) -> float:
    """The seconds of a trial that may still matter."""
    return min(seconds, deadline(spec)) if spec.key in begins else 0.0


def _hardware(options: RunOptions) -> str:
    """What a trial runs on."""
    if gpus := options.gpus_per_trial:
        return f"{gpus} GPU{'s' * (gpus > 1)} per trial"
    count = options.processes
    return "the CPU" if count == 1 else f"the CPU in {count} processes per trial"


def _slots_here(experiment: Experiment) -> int:
    """How many trials this machine runs at once."""
    import torch

    from harness.commands.machine import usable_cores
    from harness.executors.team import TrialResources

    here = {"CPU": usable_cores(), "GPU": torch.cuda.device_count()}
    return max(1, TrialResources.of(experiment.options).fits(here))


def _notes(found: Estimate) -> list[str]:
    notes = []
    if any(cell.source == "complete budgets" for cell in found.cells):
        notes.append("Complete budgets are the most that trials can take.")
    if found.without_evaluation:
        names = ", ".join(found.without_evaluation)
        notes.append(f"Evaluation is not in the hours of {names}: no record tells how long it is.")
    return notes
