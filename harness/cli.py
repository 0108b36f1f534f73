"""The `chronograd` command. Everything heavy is imported inside the commands."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from harness.progress import LiveProgress, PlainProgress
    from harness.sweep import Summary

app = typer.Typer(
    help="Measures how fast training algorithms bring neural networks to a target.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()
INTERRUPTED = 130  # what shells use for Ctrl-C


class Tuning(StrEnum):
    """The two tuning rulesets."""

    EXTERNAL = "external"
    SELF = "self"


class ClockKind(StrEnum):
    """Measured seconds, or a fixed charge a step."""

    WALL = "wall"
    STEPS = "steps"


class Until(StrEnum):
    """The goal that ends a trial."""

    VALIDATION = "validation"
    TEST = "test"


class Device(StrEnum):
    """Where a trial runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


WorkloadOption = Annotated[str, typer.Option("--workload", "-w", help="see `chronograd workloads`")]
RulesetOption = Annotated[str, typer.Option(help="demo, mini, or a TOML file")]
TuningOption = Annotated[
    Tuning | None, typer.Option(help="default: external where there is a search space")
]
SeedOption = Annotated[int, typer.Option(min=0, help="of everything random")]
ClockOption = Annotated[
    ClockKind, typer.Option(help="steps: a fixed charge a step, reproducible bit for bit")
]
UntilOption = Annotated[Until, typer.Option(help="the goal that ends a trial")]
DivergedOption = Annotated[
    bool, typer.Option(help="end a trial whose parameters stay non-finite for two evaluations")
]
DataDirOption = Annotated[Path | None, typer.Option(help="where datasets lie")]
CpusOption = Annotated[int, typer.Option(min=1, help="CPUs, and torch threads, of a trial")]
GpusOption = Annotated[int, typer.Option(min=0, max=1, help="GPUs of a trial")]
AddressOption = Annotated[
    str | None, typer.Option(help="of a running Ray cluster; default: start one here")
]
JsonOption = Annotated[bool, typer.Option("--json", help="as JSON")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(help="show tracebacks of errors")] = False,
) -> None:
    """Nothing to do: `main` looks for --debug itself."""


@app.command()
def run(
    submission: Annotated[str, typer.Argument(help="a name or the path of a folder")],
    workload: WorkloadOption,
    study: Annotated[int, typer.Option(min=0)] = 0,
    trial: Annotated[int, typer.Option(min=1)] = 1,
    hparams: Annotated[str | None, typer.Option(help="JSON or a JSON file")] = None,
    ruleset: RulesetOption = "mini",
    tuning: TuningOption = None,
    seed: SeedOption = 0,
    max_steps: Annotated[int | None, typer.Option(min=1)] = None,
    clock: ClockOption = ClockKind.WALL,
    until: UntilOption = Until.VALIDATION,
    stop_diverged: DivergedOption = True,
    data_dir: DataDirOption = None,
    cpus_per_trial: CpusOption = 1,
    device: Annotated[Device, typer.Option()] = Device.AUTO,
    out: Annotated[Path | None, typer.Option(help="results directory; default: a new one")] = None,
) -> None:
    """Runs one trial in this process.

    Example: chronograd run nadamw --workload digits --trial 2
    """
    import workloads
    from harness.local import ThisProcess
    from harness.prepare import Request, single_trial
    from harness.progress import PlainProgress
    from harness.sweep import InterruptedSweepError, run_sweep
    from scoring import rulesets

    now = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%f")
    out = out or Path("results/runs") / f"{Path(submission).name}-{workload}-{now}"
    executor = ThisProcess(workloads.get)
    options = _options_of(seed, clock, until, stop_diverged, data_dir, cpus_per_trial)
    options |= {"max_steps": max_steps, "gpus_per_trial": int(_on_gpu(device))}
    request = Request(
        submissions=[submission],
        workloads=[workload],
        ruleset=rulesets.load(ruleset),
        tuning=tuning,
        options=options,
    )
    draft = single_trial(request, study, trial, _hyperparameters(hparams), workloads.get)
    try:
        summary = run_sweep(
            draft.complete(out, executor), out, executor, PlainProgress(console, rows=True)
        )
    except InterruptedSweepError as interrupted:
        summary = interrupted.summary
    console.print(f"Records in {out}", highlight=False)
    _exit_by(summary)


@app.command()
def sweep(
    submissions: Annotated[list[str] | None, typer.Argument(help="names or paths")] = None,
    suite: Annotated[str | None, typer.Option(help="a set of workloads: demo, mini")] = None,
    workload: Annotated[list[str] | None, typer.Option("--workload", "-w")] = None,
    out: Annotated[Path | None, typer.Option(help="results directory")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with what DIR lacks")] = None,
    ruleset: RulesetOption = "mini",
    tuning: TuningOption = None,
    studies: Annotated[int | None, typer.Option(min=1, help="default: the ruleset's")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="default: the ruleset's")] = None,
    seed: SeedOption = 0,
    clock: ClockOption = ClockKind.WALL,
    until: UntilOption = Until.VALIDATION,
    stop_diverged: DivergedOption = True,
    data_dir: DataDirOption = None,
    cpus_per_trial: CpusOption = 1,
    gpus_per_trial: GpusOption = 0,
    address: AddressOption = None,
    dry_run: Annotated[bool, typer.Option(help="check everything, run nothing")] = False,
) -> None:
    """Runs submissions x workloads x studies x trials on Ray; what is done already stays.

    Example: chronograd sweep nadamw adamw --suite demo --ruleset demo --out results/demo
    """
    import workloads
    from harness.cluster import Cluster
    from harness.prepare import Request, check, resumed
    from harness.sweep import InterruptedSweepError, run_sweep
    from scoring import rulesets

    if resume is not None:
        if submissions or suite or workload or out:
            raise typer.BadParameter("--resume DIR takes everything from DIR but --studies")
        draft, out = resumed(resume, studies, workloads.get), resume
    else:
        if not submissions or out is None or (suite is None) == (not workload):
            raise typer.BadParameter("needs SUBMISSION..., --out, and either --suite or --workload")
        options = _options_of(seed, clock, until, stop_diverged, data_dir, cpus_per_trial)
        request = Request(
            submissions=submissions,
            workloads=workload or workloads.suite(str(suite)),
            ruleset=rulesets.load(ruleset),
            tuning=tuning,
            studies=studies,
            trials=trials,
            options=options | {"gpus_per_trial": gpus_per_trial},
        )
        draft = check(request, workloads.get)
    if dry_run:
        console.print(draft.describe(), highlight=False)
        return
    fields = draft.fields
    with _stoppable(), _progress() as watcher:
        cluster = Cluster(
            workloads.get, address, fields["cpus_per_trial"], fields["gpus_per_trial"]
        )
        try:
            with cluster:
                summary = run_sweep(draft.complete(out, cluster), out, cluster, watcher)
        except InterruptedSweepError as interrupted:
            summary = interrupted.summary
    _print_summary(summary, out)
    _exit_by(summary)


@app.command()
def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR")], as_json: JsonOption = False
) -> None:
    """What of a sweep is done, running, failed and left, and the hours spent."""
    from harness.status import read_status

    state = read_status(directory)
    if as_json:
        _print_json(state.to_plain())
        return
    table = Table("state", "trials")
    for name, count in state.counts.items():
        table.add_row(name, str(count))
    console.print(table)
    console.print(f"{state.hours_spent:.3f} hours on the submission clock so far", highlight=False)
    for line in state.failures:
        console.print(line, style="red", highlight=False, markup=False)


@app.command()
def score(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    json_file: Annotated[Path | None, typer.Option("--json", help="write the scores here")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write the table here")] = None,
    html: Annotated[Path | None, typer.Option(help="write a self-contained page here")] = None,
    plots: Annotated[Path | None, typer.Option(help="write the figures into this folder")] = None,
) -> None:
    """Scores a results tree: time to target, performance profiles, leaderboard.

    Example: chronograd score results/demo --html results/demo/leaderboard.html
    """
    from scoring.leaderboard import make_leaderboard, to_csv, to_json
    from scoring.read import read_tree
    from scoring.records import write_json
    from scoring.report import terminal_table, write_html

    results = read_tree(directory)
    board = make_leaderboard(results)
    console.print(terminal_table(board))
    for warning in results.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)
    if json_file is not None:
        write_json(json_file, to_json(board))
    if csv_file is not None:
        csv_file.parent.mkdir(parents=True, exist_ok=True)
        csv_file.write_text(to_csv(board), encoding="utf-8")
    if html is not None:
        write_html(results, board, html)
    if plots is not None:
        from scoring.plots import save_plots

        save_plots(results, board, plots)
    for written in (json_file, csv_file, html, plots):
        if written is not None:
            console.print(f"Written: {written}", highlight=False)


@app.command()
def calibrate(
    workload: Annotated[str, typer.Argument()],
    trials: Annotated[int, typer.Option(min=1, help="of each algorithm")] = 200,
    out: Annotated[Path | None, typer.Option(help="default: results/calibrate/WORKLOAD")] = None,
    seed: SeedOption = 0,
    data_dir: DataDirOption = None,
    cpus_per_trial: CpusOption = 1,
    gpus_per_trial: GpusOption = 0,
    address: AddressOption = None,
) -> None:
    """Finds a workload's targets by the target-setting procedure; goes on where it was stopped."""
    import workloads
    from harness.calibrate import calibrate as find_targets
    from harness.cluster import Cluster
    from harness.sweep import InterruptedSweepError

    workloads.get(workload, data_dir).check_data()
    out = out or Path("results/calibrate") / workload
    options = {
        "seed": seed,
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
    }
    with _stoppable(), _progress() as watcher:
        cluster = Cluster(workloads.get, address, cpus_per_trial, gpus_per_trial)
        try:
            with cluster:
                found = find_targets(
                    workloads.get, workload, trials, out, cluster, watcher, options
                )
        except InterruptedSweepError:
            console.print("Interrupted. The same command goes on where it stopped.")
            raise typer.Exit(INTERRUPTED) from None
    _print_json(found)
    console.print(f"Written to {out / 'target.json'}; the workload reads its own target.json.")


@app.command()
def workloads(as_json: JsonOption = False) -> None:
    """Lists the workloads."""
    import workloads as library
    from scoring.records import to_plain

    found = {name: library.get(name) for name in library.names()}
    if as_json:
        facts = ("summary", "suites", "budget_steps", "max_allowed_runtime_sec", "step_hint")
        _print_json(
            {
                name: {"goal": to_plain(w.goal), "loss_type": w.loss_type.name}
                | {fact: getattr(w, fact) for fact in facts}
                for name, w in found.items()
            }
        )
        return
    table = Table("workload", "task", "target", "budget", "suites")
    for name, w in found.items():
        sign = "<=" if w.target_direction == "min" else ">="
        budget = (
            f"{w.max_allowed_runtime_sec:g} s"
            if w.budget_steps is None
            else (f"{w.budget_steps:,} baseline steps")
        )
        target = f"{w.target_metric_name} {sign} {w.validation_target_value:.5g}"
        table.add_row(name, w.summary, target, budget, ", ".join(w.suites))
    console.print(table)


@app.command()
def submissions(as_json: JsonOption = False) -> None:
    """Lists the submissions."""
    from harness.submission import available, library

    found = {
        name: json.loads((library() / name / "submission_info.json").read_text(encoding="utf-8"))
        for name in available()
    }
    if as_json:
        _print_json(found)
        return
    table = Table("submission", "title", "paper")
    for name, info in found.items():
        table.add_row(name, info["title"], info["paper"])
    console.print(table)


def main() -> None:
    """Runs the command; an error is one line on stderr, with --debug a traceback."""
    debug = "--debug" in sys.argv
    try:
        app()
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if debug or not isinstance(error, _user_errors()):
            raise
        _fail(str(error), 2)


def _user_errors() -> tuple[type[Exception], ...]:
    from scoring.records import UserError
    from workloads import WorkloadNotFoundError

    return UserError, WorkloadNotFoundError


def _fail(message: str, code: int) -> None:
    Console(stderr=True).print(f"chronograd: {message}", highlight=False, markup=False)
    raise SystemExit(code)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops like Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress() -> LiveProgress | PlainProgress:
    from harness.progress import LiveProgress, PlainProgress

    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


def _options_of(
    seed: int,
    clock: ClockKind,
    until: Until,
    stop_diverged: bool,
    data_dir: Path | None,
    cpus_per_trial: int,
) -> dict[str, Any]:
    """The fields of an Experiment that the user sets directly."""
    return {
        "seed": seed,
        "clock": clock.value,
        "until": until.value,
        "stop_diverged": stop_diverged,
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "cpus_per_trial": cpus_per_trial,
    }


def _hyperparameters(given: str | None) -> dict[str, Any] | None:
    """--hparams: a JSON object, or the path of a file that holds one."""
    if given is None:
        return None
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8")
        point = json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--hparams {given}: {error}") from None
    if not isinstance(point, dict):
        raise typer.BadParameter(f"--hparams must be a JSON object, got {text}")
    return point


def _on_gpu(device: Device) -> bool:
    import torch

    if device is Device.CUDA and not torch.cuda.is_available():
        raise typer.BadParameter("--device cuda: this torch sees no GPU")
    return device is Device.CUDA or (device is Device.AUTO and torch.cuda.is_available())


def _print_summary(summary: Summary, out: Path) -> None:
    counts = ", ".join(f"{count} {how}" for how, count in sorted(summary.by_status.items()))
    if counts:
        console.print(f"This run: {counts}.", highlight=False)
    for spec, result in summary.failed:
        line = f"failed: {spec.name} ({result.failure}): {result.message}"
        console.print(line, style="red", highlight=False, markup=False)
    if summary.left:
        console.print(
            f"{summary.left} trials are left. Go on with: chronograd sweep --resume {out}",
            highlight=False,
        )
    console.print(f"Records in {out}. Leaderboard: chronograd score {out}", highlight=False)


def _exit_by(summary: Summary) -> None:
    """Exit code: 0 done, 1 something failed, 130 interrupted."""
    if summary.left:
        raise typer.Exit(INTERRUPTED)
    if summary.failed:
        raise typer.Exit(1)


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
