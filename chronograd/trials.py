"""Runs trials and sweeps, as `chronograd run` and `chronograd sweep` do. Needs chronograd[run]."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from rich.console import Console

from chronograd.arguments import (
    SearchSpace,
    check_kinds,
    fields_of,
    is_one,
    name_of,
    space_file,
    split_options,
    written,
)
from chronograd.results import PathLike, Results, read
from scoring.records import RunOptions, UserError

if TYPE_CHECKING:
    from chronograd.arguments import Submission


class TrialKeywords(TypedDict, total=False):
    """How trials run: the options of `chronograd run`, with the same defaults."""

    seed: int  # of all random number generators
    clock: Literal["wall", "steps"]
    until: Literal["validation", "test", "budget"]
    stop_diverged: bool
    keep_checkpoint: bool
    compile: bool
    max_steps: int | None
    batch_size: int | None
    data_dir: str | None
    cpus_per_trial: int
    schedule: str  # of optimizers: none, constant, linear, cosine, ...
    warmup: float | None
    grad_clip: float | None


class SweepKeywords(TrialKeywords, total=False):
    """How sweeps run: the options of `chronograd sweep`, with the same defaults."""

    gpus_per_trial: int
    processes_per_trial: int
    address: str | None
    max_concurrent: int | None
    exclusive_nodes: bool
    checkpoint_dir: str | None
    max_attempts: int
    hang_timeout: float
    pruning: Literal["exact", "predict", "off"]
    risk: float
    max_change: float
    history: Sequence[PathLike]
    order: Literal["cost", "latency"]
    decide: Literal["all", "top"]
    confidence: float
    max_studies: int


def run(
    submission: Submission,
    workload: str,
    *,
    hparams: Mapping[str, Any] | None = None,
    search_space: SearchSpace | None = None,
    study: int = 0,
    trial: int = 1,
    ruleset: PathLike = "mini",
    tuning: Literal["external", "self"] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    out: PathLike | None = None,
    **options: Unpack[TrialKeywords],
) -> Results:
    """Runs one trial on this machine and returns its results.

    Args:
        submission: The name or folder of a submission; an optimizer class; or a function
            `make_optimizer(params, hyperparameters, horizon)` that returns an optimizer, where
            `horizon` is the number of steps that schedules end after. What is defined in a notebook
            or script is written into `out` as source code, with what it refers to.
        workload: Its name, see `chronograd workloads`, or the path of its folder.
        hparams: The hyperparameters by name; None for a point of the search space.
        search_space: Replaces that of the submission: a file, or its content.
        study: Index of the study, from 0.
        trial: Number of the trial in it, from 1.
        ruleset: The name of a ruleset, or the path of a TOML file.
        tuning: AlgoPerf's tuning rules; None for external if there is a search space.
        device: Where the trial runs.
        out: Results directory; None for a new one in `results/runs`.
        options: The options of `chronograd run`.

    Returns:
        The results in `out`; `.trials()` has the status, and the message of a failed trial.

    Raises:
        UserError: Something is missing or invalid; the message says what.
        KeyboardInterrupt: The trial was interrupted; what was measured is recorded.
    """
    with _needs_run():
        import workloads
        from harness.commands import running
        from harness.progress.live import PlainProgress
        from harness.sweep.request import Request, single_trial
        from scoring import rulesets
    check_kinds([submission])
    workload = workloads.named(workload)
    name = name_of(submission)
    now = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%f")
    place = Path(out or Path("results/runs") / f"{name}-{workload}-{now}").absolute()
    plain, optimizer = split_options(options, run)
    gpus = int(running.uses_gpu(device))
    request = Request(
        submissions=written([submission], place, optimizer),
        workloads=[workload],
        ruleset=rulesets.load(os.fspath(ruleset)),
        tuning=tuning,
        search_space=space_file(search_space, place),
        point=None if hparams is None else dict(hparams),
        options=RunOptions(**fields_of(RunOptions, plain, gpus_per_trial=gpus)),
    )
    draft = single_trial(request, study, trial, workloads.get)
    lines = nullcontext(PlainProgress(Console(), rows=True))
    summary = running.run_here(draft, place, lines, print, print)
    if summary.left:
        raise KeyboardInterrupt
    return read(place)


def sweep(
    submissions: Submission | Sequence[Submission],
    *,
    out: PathLike,
    suite: str | None = None,
    workloads: str | Sequence[str] = (),
    search_space: SearchSpace | None = None,
    ruleset: PathLike = "mini",
    tuning: Literal["external", "self"] | None = None,
    studies: int | Literal["auto"] | None = None,
    trials: int | None = None,
    **options: Unpack[SweepKeywords],
) -> Results:
    """Runs submissions x workloads x studies x trials on Ray; trials that are done are kept.

    Args:
        submissions: One or several, each as for `run`.
        out: Results directory.
        suite: A set of workloads.
        workloads: Names or folders of workloads, instead of a suite.
        search_space: Replaces those of all submissions: a file, or its content.
        ruleset: The name of a ruleset, or the path of a TOML file.
        tuning: AlgoPerf's tuning rules; None for external if there are search spaces.
        studies: Studies per submission and workload; "auto": until results decide the order; None
            for the ruleset's number.
        trials: Trials per study; None for the ruleset's number.
        options: The options of `chronograd sweep`.

    Returns:
        The results in `out`, also of earlier calls.

    Raises:
        UserError: Something is missing or invalid; the message says what.
        KeyboardInterrupt: The sweep was interrupted; the same call continues it.
    """
    with _needs_run():
        import workloads as library
        from harness.commands import running
        from harness.progress.live import PlainProgress
        from harness.sweep.options import AUTO, PlanOptions, SweepOptions, deciding
        from harness.sweep.request import check
    place = Path(out).absolute()
    several: Any = [submissions] if is_one(submissions) else submissions
    check_kinds(several)
    named = tuple(map(library.named, [workloads] if isinstance(workloads, str) else workloads))
    plan = PlanOptions(
        suite=suite, workload=named, ruleset=os.fspath(ruleset), tuning=tuning,  # type: ignore[arg-type]
        studies=AUTO if studies == "auto" else studies, trials=trials,
    )  # fmt: skip
    plain, optimizer = split_options(options, sweep)
    how = SweepOptions.from_plain(fields_of(SweepOptions, plain, pruning="exact", order="cost"))
    how = deciding(plan.studies, how)
    names = written(several, place, optimizer)
    run_options = RunOptions(**fields_of(RunOptions, plain))
    space = space_file(search_space, place)
    request = running.requested(names, plan, run_options, space, how.most)
    draft = check(request, library.get)
    lines = nullcontext(PlainProgress(Console()))
    summary = running.run_on_ray(draft, place, how, lines, print, print)
    if summary.left:
        raise KeyboardInterrupt
    return read(place)


@contextmanager
def _needs_run() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"this needs the Python package {error.name}, which is not installed; "
            "pip install 'chronograd[run]' installs everything that trials need"
        ) from None
