"""Plans and runs trials and sweeps: what the command line and Python have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workloads
from harness.commands.history import limits_from
from harness.commands.machine import processor
from harness.commands.suites import members
from harness.executors.local import LocalExecutor
from harness.sweep.callback import SweepCallback
from harness.sweep.changes import is_trusted
from harness.sweep.interruption import InterruptedSweepError
from harness.sweep.limits import Limits
from harness.sweep.options import PlanOptions, SweepOptions
from harness.sweep.preparation import preparing
from harness.sweep.recorder import Summary
from harness.sweep.request import Draft, Request
from harness.sweep.run import run_sweep
from scoring import rulesets
from scoring.experiment import Experiment
from scoring.records import ClockKind, RunOptions, UserError

if TYPE_CHECKING:  # which imports ray
    from harness.executors.cluster import Cluster

Say = Callable[[str], object]


def requested(
    submissions: Sequence[str],
    plan: PlanOptions,
    options: RunOptions,
    search_space: Path | None = None,
    max_studies: int | None = None,
) -> Request:
    """Returns the request for a sweep; `max_studies` as in `Request`.

    Raises:
        UserError: The plan names both a suite and workloads, or neither.
    """
    if plan.suite is not None and plan.workload:
        raise UserError("--suite and --workload cannot be combined; give one of them")
    if plan.suite is None and not plan.workload:
        raise UserError(
            "needs either --suite or --workload; `chronograd workloads` lists workloads and suites"
        )
    rules = rulesets.load(plan.ruleset)
    if options.max_steps is not None and not rules.by_steps:
        raise UserError(
            f"--max-steps: under {rules.name}, a trial ends at its target or budget; use a ruleset "
            "by steps, such as track3, or `chronograd run`"
        )
    return Request(
        submissions=submissions,
        workloads=plan.workload or members(str(plan.suite), rules),
        ruleset=rules,
        tuning=plan.tuning,
        studies=plan.studies or None,  # AUTO
        max_studies=max_studies,
        trials=plan.trials,
        search_space=search_space,
        options=options,
    )


def run_here(
    draft: Draft, out: Path, callback: AbstractContextManager[SweepCallback], say: Say, warn: Say
) -> Summary:
    """Runs a draft on this machine, one trial after another, without Ray.

    Args:
        draft: The trials.
        out: Results tree, an absolute path.
        callback: Gives the callback, once the trials can begin.
        say: Receives a line before each timing of a baseline.
        warn: Receives a line if this machine has other work.
    """
    if draft.options.clock is ClockKind.WALL:
        warn_of_load(warn)
    executor = LocalExecutor(workloads.get)
    with preparing(out, say) as announce:
        experiment = draft.complete(out, executor, announce=announce)
    with callback as called:
        return _uninterrupted(experiment, out, executor, called)


def run_on_ray(
    draft: Draft,
    out: Path,
    how: SweepOptions,
    callback: AbstractContextManager[SweepCallback],
    say: Say,
    warn: Say,
    accepted: Sequence[str] = (),
) -> Summary:
    """Runs a draft on Ray.

    Args:
        draft: The trials.
        out: Results tree, an absolute path.
        how: How the sweep is run.
        callback: Gives the callback.
        say: Receives a line about the cluster, and before each timing of a baseline.
        warn: Receives a line if this machine has other work.
        accepted: Files of submissions that may have changed.
    """
    if how.address is None and draft.options.clock is ClockKind.WALL:
        warn_of_load(warn)
    cluster = cluster_of(draft, how, say)
    with callback as called, closing(cluster):
        with preparing(out, say) as announce:
            experiment = draft.complete(out, cluster, accepted, announce)
            limits = limits_of(how, experiment, say)
        return _uninterrupted(experiment, out, cluster, called, how, limits)


def cluster_of(draft: Draft, how: SweepOptions, say: Say) -> Cluster:
    """Returns the executor of a sweep; it announces the cluster when it connects."""
    from harness.executors.cluster import Cluster
    from harness.executors.resources import TrialResources

    resources = TrialResources.of(draft.options, how.exclusive_nodes)
    return Cluster(workloads.get, how.address, resources, how.hang_timeout, how.max_concurrent, say)


def limits_of(how: SweepOptions, experiment: Experiment, say: Say) -> Limits | None:
    """Returns the limits of --pruning predict, and says how well they are calibrated."""
    if not how.history:
        return None
    limits = limits_from(how.history, experiment, how.risk, how.max_change)
    say(f"Prediction: {limits.calibration}")
    return limits


def register_planned(out: Path) -> None:
    """Makes the workloads of a results tree available that are not in the library."""
    for rules in Experiment.read(out).workloads.values():
        if rules.folder:
            workloads.register(rules.folder)


def register_trusted(out: Path, names: Iterable[str]) -> None:
    """Makes workloads of a results tree available that are not in the library.

    Raises:
        UserError: The code of one is neither in `out` nor in the working directory.
    """
    planned = Experiment.read(out).workloads
    for name in dict.fromkeys(names):
        if folder := planned[name].folder:
            if not is_trusted(Path(folder), out):
                raise UserError(
                    f"{out}: the code of its workload {name} is outside it and the working "
                    f"directory, at {folder}; to run it, change to a folder that contains it"
                )
            workloads.register(folder)


def uses_gpu(device: str) -> bool:
    """Returns whether a trial runs on a GPU.

    Raises:
        UserError: There is no GPU for it.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU")
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


def warn_of_load(warn: Say) -> None:
    """Warns if this machine has other work, which slows trials down."""
    if (check := processor()).fix:
        warn(f"warning: {check.what}: {check.fix}")


def _uninterrupted(*arguments: Any) -> Summary:
    """Runs a sweep; returns its summary at its end or interruption."""
    try:
        return run_sweep(*arguments)
    except InterruptedSweepError as interrupted:
        return interrupted.summary
