"""The commands that run trials: run, sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.given import (
    hyperparameters,
    on_gpu,
    options_of,
    processes_of,
    refuse_beside_resume,
    say_which,
)
from harness.cli.options import (
    INTERRUPTED,
    AcceptOption,
    AddressOption,
    AttemptsOption,
    BatchSizeOption,
    CheckpointsOption,
    ClockKind,
    ClockOption,
    CompileOption,
    ConcurrentOption,
    CpusOption,
    DataDirOption,
    Device,
    DivergedOption,
    ExclusiveOption,
    GpusOption,
    GradClipOption,
    HangOption,
    HistoryOption,
    OrderOption,
    ProcessesOption,
    Pruning,
    PruningOption,
    RiskOption,
    RulesetOption,
    Schedule,
    ScheduleOption,
    SearchSpaceOption,
    SeedOption,
    Track,
    TrackOption,
    TuningOption,
    Until,
    UntilOption,
    WarmupOption,
    WorkloadOption,
    console,
    preparing,
    say,
)
from harness.executors.process import HANG_TIMEOUT
from harness.sweep.driver import MAX_ATTEMPTS
from harness.sweep.trial_queue import Order

if TYPE_CHECKING:
    from harness.sweep.callback import Watcher
    from harness.sweep.driver import Summary

TRACKER_PATIENCE = 60.0  # seconds an evaluation; the trial's clock stands still meanwhile


def run(
    submission: Annotated[
        str, typer.Argument(help="a name, a path, or an optimizer: torch.optim.AdamW")
    ],
    workload: WorkloadOption,
    study: Annotated[int, typer.Option(min=0)] = 0,
    trial: Annotated[int, typer.Option(min=1)] = 1,
    hparams: Annotated[str | None, typer.Option(help="JSON or a JSON file")] = None,
    search_space: SearchSpaceOption = None,
    schedule: ScheduleOption = Schedule.NONE,
    warmup: WarmupOption = None,
    grad_clip: GradClipOption = None,
    batch_size: BatchSizeOption = None,
    ruleset: RulesetOption = "mini",
    tuning: TuningOption = None,
    seed: SeedOption = 0,
    max_steps: Annotated[int | None, typer.Option(min=1)] = None,
    clock: ClockOption = ClockKind.WALL,
    until: UntilOption = Until.VALIDATION,
    stop_diverged: DivergedOption = True,
    compile: CompileOption = True,
    data_dir: DataDirOption = None,
    cpus_per_trial: CpusOption = 1,
    device: Annotated[Device, typer.Option()] = Device.AUTO,
    out: Annotated[Path | None, typer.Option(help="results directory; default: a new one")] = None,
    track: TrackOption = None,
) -> None:
    """Runs one trial in this process.

    Examples:
      chronograd run nadamw --workload digits --trial 2
      chronograd run torch.optim.AdamW --workload digits --hparams '{"lr": 1e-3}'
    """
    import workloads
    from harness.commands import dotted
    from harness.executors.local import ThisProcess
    from harness.progress.live import PlainProgress
    from harness.progress.track import tracking
    from harness.sweep.plan import OPTIMIZERS
    from harness.sweep.request import Request, single_trial
    from harness.sweep.run import run_sweep
    from scoring import rulesets

    now = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%f")
    name = Path(submission.removesuffix("/submission.py")).resolve().name
    shown = out or Path("results/runs") / f"{name}-{workload}-{now}"
    out = shown.absolute()  # the submission may change the working directory
    executor = ThisProcess(workloads.get)
    options = options_of(seed, clock, until, stop_diverged, compile, data_dir, cpus_per_trial)
    options |= {"max_steps": max_steps, "gpus_per_trial": int(on_gpu(device))}
    options |= {"batch_size": batch_size}
    say_which([submission], tuning)
    request = Request(
        submissions=dotted.write(
            [submission], out / OPTIMIZERS, schedule, warmup_factor=warmup, grad_clip=grad_clip
        ),
        workloads=[workload],
        ruleset=rulesets.load(ruleset),
        tuning=tuning,
        search_space=search_space,
        point=hyperparameters(hparams),
        options=options,
    )
    with preparing() as progress:
        draft = single_trial(request, study, trial, workloads.get, progress)
    experiment, lines = draft.complete(out, executor), PlainProgress(console, rows=True)
    with tracking(lines, track, out, say, patience=TRACKER_PATIENCE) as watcher:
        summary = _uninterrupted(run_sweep, experiment, out, executor, watcher)
    say(f"Records in {shown}")
    _exit_by(summary)


def sweep(
    context: typer.Context,
    submissions: Annotated[list[str] | None, typer.Argument(help="as in `run`")] = None,
    suite: Annotated[str | None, typer.Option(help="a set of workloads: demo, mini")] = None,
    workload: Annotated[list[str] | None, typer.Option("--workload", "-w")] = None,
    out: Annotated[Path | None, typer.Option(help="results directory")] = None,
    resume: Annotated[Path | None, typer.Option(help="run what DIR lacks")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="resume: run code from wherever DIR names it")
    ] = False,
    ruleset: RulesetOption = "mini",
    tuning: TuningOption = None,
    studies: Annotated[int | None, typer.Option(min=1, help="default: the ruleset's")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="default: the ruleset's")] = None,
    search_space: SearchSpaceOption = None,
    schedule: ScheduleOption = Schedule.NONE,
    warmup: WarmupOption = None,
    grad_clip: GradClipOption = None,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = 0,
    clock: ClockOption = ClockKind.WALL,
    until: UntilOption = Until.VALIDATION,
    stop_diverged: DivergedOption = True,
    compile: CompileOption = True,
    data_dir: DataDirOption = None,
    cpus_per_trial: CpusOption = 1,
    gpus_per_trial: GpusOption = 0,
    processes_per_trial: ProcessesOption = 1,
    address: AddressOption = None,
    checkpoint_dir: CheckpointsOption = None,
    max_attempts: AttemptsOption = MAX_ATTEMPTS,
    hang_timeout: HangOption = HANG_TIMEOUT,
    pruning: PruningOption = Pruning.EXACT,
    risk: RiskOption = 0.1,
    history: HistoryOption = None,
    order: OrderOption = Order.COST,
    max_concurrent: ConcurrentOption = None,
    exclusive_nodes: ExclusiveOption = False,
    track: TrackOption = None,
    accept_change: AcceptOption = None,
    dry_run: Annotated[bool, typer.Option(help="check everything, run nothing")] = False,
) -> None:
    """Runs submissions x workloads x studies x trials on Ray; what is done already stays.

    Example: chronograd sweep nadamw adamw --suite demo --ruleset demo --out results/demo
    """
    import workloads
    from harness.commands import dotted
    from harness.commands.history import limits_from
    from harness.commands.suites import members
    from harness.sweep.plan import OPTIMIZERS
    from harness.sweep.request import Request, check, resumed
    from harness.sweep.run import run_sweep
    from scoring import rulesets

    history = history and [path.absolute() for path in history]
    if trust and resume is None:
        raise typer.BadParameter("--trust goes with --resume DIR")
    if bool(history) != (pruning is Pruning.PREDICT):
        raise typer.BadParameter("--pruning predict goes with --history DIR")
    if resume is not None:
        refuse_beside_resume(context)
        with preparing() as progress:
            shown, out = resume, resume.absolute()
            accepted = accept_change or ()
            draft = resumed(out, studies, workloads.get, progress, trust=trust, accepted=accepted)
    else:
        if not submissions or out is None or (suite is None) == (not workload):
            raise typer.BadParameter("needs SUBMISSION..., --out, and either --suite or --workload")
        options = options_of(seed, clock, until, stop_diverged, compile, data_dir, cpus_per_trial)
        options |= processes_of(gpus_per_trial, processes_per_trial)
        rules = rulesets.load(ruleset)
        shown, out = out, out.absolute()  # a submission may change the working directory
        say_which(submissions, tuning)
        with TemporaryDirectory() as aside, preparing() as progress:
            folder = Path(aside) if dry_run else out / OPTIMIZERS
            names = dotted.write(
                submissions, folder, schedule, warmup_factor=warmup, grad_clip=grad_clip
            )
            request = Request(
                submissions=names,
                workloads=workload or members(str(suite), rules),
                ruleset=rules, tuning=tuning, studies=studies, trials=trials,
                search_space=search_space, options=options | {"batch_size": batch_size},
            )  # fmt: skip
            draft = check(request, workloads.get, progress)
    if dry_run:
        say(draft.describe())
        return
    from harness.executors.cluster import Cluster
    from harness.executors.team import Room

    room = Room.of(draft.fields, exclusive_nodes)
    cluster = Cluster(workloads.get, address, room, hang_timeout, max_concurrent)
    with _onlookers(track, out) as watcher, closing(cluster):
        experiment = draft.complete(out, cluster, accept_change or ())
        exact = pruning is not Pruning.OFF and experiment.until == Until.VALIDATION
        limits = limits_from(history, experiment, risk) if history else None
        how = (checkpoint_dir, max_attempts, exact, order, limits)
        summary = _uninterrupted(run_sweep, experiment, out, cluster, watcher, *how)
    _conclude(summary, shown)


@contextmanager
def _onlookers(track: list[Track] | None, out: Path) -> Iterator[Watcher]:
    """Progress on the console, and the trackers."""
    from harness.progress.live import watch
    from harness.progress.track import tracking

    with watch(console) as board, tracking(board, track, out, say) as everybody:
        yield everybody


def _uninterrupted(sweep: Callable[..., Summary], *arguments: Any) -> Summary:
    """How a sweep stands at its end, or when it was interrupted."""
    from harness.sweep.interruption import InterruptedSweepError

    try:
        return sweep(*arguments)
    except InterruptedSweepError as interrupted:
        return interrupted.summary


def _conclude(summary: Summary, out: Path) -> None:
    """Says how a sweep stands, and exits by it."""
    counts = ", ".join(f"{count} {how}" for how, count in sorted(summary.by_status.items()))
    if counts:
        say(f"This run: {counts}.")
    for spec, result in summary.failed:
        say(f"failed: {spec.name} ({result.failure}): {result.message}", style="red")
    if summary.left:
        say(f"{summary.left} trials are left. Go on with: chronograd sweep --resume {out}")
    say(f"Records in {out}. Leaderboard: chronograd score {out}")
    _exit_by(summary)


def _exit_by(summary: Summary) -> None:
    """Exit code: 0 done, 1 something failed, 130 interrupted."""
    if summary.left:
        raise typer.Exit(INTERRUPTED)
    if summary.failed:
        raise typer.Exit(1)
