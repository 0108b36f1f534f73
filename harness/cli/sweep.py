"""The commands sweep and resume: submissions x workloads x studies x trials on Ray."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.given import say_which
from harness.cli.options import (
    FAILURES,
    OPTIONS,
    RecordedStudiesOption,
    SearchSpaceOption,
    console,
    preparing,
    say,
)
from harness.cli.records import as_options, override, takes_records
from harness.cli.summary import conclude, warn
from harness.cli.sweep_file import write_sweep
from harness.sweep.options import OptimizerOptions, PlanOptions, SweepOptions, deciding
from scoring.names import counted
from scoring.records import ClockKind, Pruning, RunOptions
from scoring.tree import OPTIMIZERS

if TYPE_CHECKING:
    from harness.sweep.callback import SweepCallback
    from harness.sweep.request import Draft

AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="a submission's file that changed and on which no trial depends; repeatable",
        rich_help_panel=FAILURES,
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="check everything, run nothing")]


@takes_records(OPTIONS)
def sweep(
    context: typer.Context,
    submissions: Annotated[
        list[str],
        typer.Argument(help="names, paths or optimizer classes; or first a TOML file with options"),
    ],
    plan: PlanOptions,
    search_space: SearchSpaceOption = None,
    out: Annotated[Path, typer.Option(help="results directory")] = ...,  # type: ignore[assignment]
    *,
    options: RunOptions,
    optimizer: OptimizerOptions,
    how: SweepOptions,
    accept_change: AcceptOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Runs submissions x workloads x studies x trials on Ray; trials that are done are kept.

    Examples:
      chronograd sweep nadamw adamw --suite demo --ruleset demo --out results/demo
      chronograd sweep sweep.toml --out results/again
    """
    import workloads
    from harness.commands import dotted
    from harness.commands.running import requested
    from harness.sweep.request import check

    say_which(submissions, plan.tuning)
    shown, out = out, out.absolute()  # a submission may change the working directory
    with TemporaryDirectory() as aside, preparing() as progress:
        folder = Path(aside) if dry_run else out / OPTIMIZERS
        names = dotted.write(submissions, folder, optimizer)
        how = deciding(plan.studies, how)
        request = requested(names, plan, options, search_space, how.most)
        draft = check(request, workloads.get, progress)
    if not dry_run:
        draft.preview(out, accept_change or ())  # refuses before anything is written
        write_sweep(context, out)
    _run(draft, shown, how, accept_change or (), dry_run)


@takes_records(OPTIONS)
def resume(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="the sweep's results directory")],
    studies: RecordedStudiesOption = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="run code that is neither in DIR nor in the working directory"
        ),
    ] = False,
    accept_change: AcceptOption = None,
    dry_run: DryRunOption = False,
    *,
    how: SweepOptions,
) -> None:
    """Runs what is left of a sweep, with its recorded options; options given here replace them.

    Example: chronograd resume results/demo
    """
    import workloads
    from harness.commands.running import register_planned
    from harness.sweep.request import resumed
    from harness.sweep.restore import last_options

    out, accepted = directory.absolute(), accept_change or ()
    register_planned(out)
    how = deciding(studies, override(context, last_options(out) or SweepOptions(), how))
    with preparing() as progress:
        draft = resumed(
            out, studies, workloads.get, progress,
            trust=trust, accepted=accepted, max_studies=how.most,
        )  # fmt: skip
    _run(draft, directory, how, accepted, dry_run)


def _run(
    draft: Draft, shown: Path, how: SweepOptions, accepted: Sequence[str], dry_run: bool
) -> None:
    if options := as_options(how):
        say(f"Sweep options: {options}")
    if dry_run:
        _preview(draft, shown.absolute(), how, accepted)
        return
    from harness.commands.running import run_on_ray

    out = shown.absolute()
    summary = run_on_ray(draft, out, how, _callbacks(how.track, out), say, warn, accepted)
    conclude(summary, shown)


def _preview(draft: Draft, out: Path, how: SweepOptions, accepted: Sequence[str]) -> None:
    """Makes all checks of a sweep, without timing or running anything, and prints its size."""
    from harness.cli.estimate import say_hours
    from harness.commands.estimate_inputs import estimate_preview, slots_here
    from harness.commands.machine import disk
    from harness.commands.running import cluster_of, limits_of
    from harness.sweep.restore import remaining

    experiment = draft.preview(out, accepted)
    limits_of(how, experiment, say)
    say(_describe(draft))
    say(f"Results: {disk('results', out).what}")
    if how.address is None:
        slots = min(slots_here(experiment), how.max_concurrent or sys.maxsize)
        say(f"Ray on this machine: {slots} trial{'s' * (slots > 1)} at once")
    else:
        with closing(cluster_of(draft, how, say)) as cluster:
            slots = cluster.slots()
    is_pruned = how.pruning is not Pruning.OFF
    left = remaining(out, experiment, is_pruned=is_pruned)
    found, notes = estimate_preview(experiment, out, left, how.history, slots, is_pruned=is_pruned)
    sources = dict.fromkeys(cell.source for cell in found.cells)
    say(
        f"{counted(len(left), 'trial')} to run"
        + (f", hours estimated from: {', '.join(sources)}" if left else "")
    )
    if not left:
        return
    say_hours(found)
    if untimed := draft.untimed(out):
        notes.append(
            f"Budgets of {', '.join(untimed)} are in baseline steps, which are not timed yet: the "
            "nominal time of a step is assumed. `chronograd estimate` times steps here."
        )
    if draft.options.clock is ClockKind.STEPS:
        notes.append(
            "The step clock measures no time, so these hours are nominal; `chronograd estimate` "
            "times steps here."
        )
    for note in notes:
        say(note)


def _describe(draft: Draft) -> str:
    """Returns a one-line summary of the trials."""
    sizes = (len(draft.submissions), len(draft.workloads), draft.studies, draft.trials)
    studies, trials = f"{draft.studies}", f"{math.prod(sizes)}"
    if draft.first is not None:  # results decide how many are added
        least = math.prod(sizes) // draft.studies * draft.first
        studies, trials = f"{draft.first} to {studies}", f"at least {least}, at most {trials}"
    return (
        f"{counted(sizes[0], 'submission')} ({', '.join(draft.submissions)}) x "
        f"{counted(sizes[1], 'workload')} ({', '.join(draft.workloads)}) x "
        f"{studies} stud{'y' if studies == '1' else 'ies'} x {counted(sizes[3], 'trial')} = "
        f"{trials} trial{'s' * (trials != '1')}; "
        f"ruleset {draft.ruleset.name}, {draft.tuning} tuning"
    )


@contextmanager
def _callbacks(track: Sequence[str], out: Path) -> Iterator[SweepCallback]:
    """Yields the callback of the console's progress display and of the trackers."""
    from harness.progress.live import watch
    from harness.progress.track import tracking

    with watch(console) as board, tracking(board, track, out, say) as callback:
        yield callback
