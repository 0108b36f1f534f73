"""The options that commands share, and where they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.output import make_console
from harness.sweep.trial_queue import Order
from scoring.records import printable

console = make_console()
INTERRUPTED = 130  # the exit code that shells use for Ctrl-C


class Tuning(StrEnum):
    """The two tuning rulesets."""

    EXTERNAL = "external"
    SELF = "self"


class ClockKind(StrEnum):
    """Measured seconds, or a fixed charge for each batch of training work."""

    WALL = "wall"
    STEPS = "steps"


class Until(StrEnum):
    """The goal that ends a trial."""

    VALIDATION = "validation"
    TEST = "test"


class Method(StrEnum):
    """How scores are made."""

    RULES = "rules"
    OFFICIAL = "official"


class Resample(StrEnum):
    """What the bootstrap draws."""

    STUDIES = "studies"
    WORKLOADS = "workloads"


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
    ClockKind, typer.Option(help="steps: charge training work, not time; repeats bit for bit")
]
UntilOption = Annotated[Until, typer.Option(help="the goal that ends a trial")]
DivergedOption = Annotated[
    bool, typer.Option(help="end a trial whose parameters stay non-finite for two evaluations")
]
CompileOption = Annotated[
    bool, typer.Option(help="torch.compile on GPUs, where the workload asks for it")
]
BatchSizeOption = Annotated[
    int | None, typer.Option(min=1, help="default: the submission's, else the workload's")
]
SearchSpaceOption = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, resolve_path=True, help="default: each submission's own"
    ),
]


class Schedule(StrEnum):
    """The learning rate's way of an optimizer given by its dotted name."""

    NONE = "none"
    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    COSINE = "cosine"
    CYCLIC = "cyclic"
    WSD = "wsd"
    SQRT = "sqrt"


ScheduleOption = Annotated[
    Schedule, typer.Option(help="of the learning rate, for an optimizer class")
]
WarmupOption = Annotated[
    float | None, typer.Option(min=0, max=1, help="its part of the schedule, likewise")
]
GradClipOption = Annotated[
    float | None, typer.Option(min=0, help="the gradient's largest norm, likewise")
]
DataDirOption = Annotated[Path | None, typer.Option(help="where datasets lie")]
CpusOption = Annotated[
    int, typer.Option(min=1, help="CPUs, and torch threads, of a trial's process")
]
GpusOption = Annotated[
    int, typer.Option(min=0, help="GPUs of a trial, a process for each; 0 trains on the CPU")
]
ProcessesOption = Annotated[
    int, typer.Option(min=1, help="of a trial without GPUs, which train together")
]


def _place(given: str | None) -> str | None:
    """A path from here, or a URI that can be opened."""
    if given is None or "://" not in given:
        return given and str(Path(given).resolve())
    from harness.checkpoint.storage import storage

    storage(given)
    return given


class Pruning(StrEnum):
    """Whether trials stop early."""

    EXACT = "exact"
    PREDICT = "predict"
    OFF = "off"


OrderOption = Annotated[
    Order,
    typer.Option(
        help="cost: likely winners first, fewest hours; latency: longest first, all at once"
    ),
]


class Track(StrEnum):
    """Experiment trackers."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"


def _installed(names: list[Track] | None) -> list[Track] | None:
    """Refuses a tracker whose package is missing, before anything runs."""
    if names:
        from harness.progress.track import require

        require(names)
    return names


TrackOption = Annotated[
    list[Track] | None,
    typer.Option("--track", callback=_installed, help="write evaluations there too; repeatable"),
]
PruningOption = Annotated[
    Pruning,
    typer.Option(
        help="exact: stop trials that provably cannot change the leaderboard; predict: and those "
        "that lag behind what --history met the target with, which may move scores"
    ),
]
RiskOption = Annotated[
    float, typer.Option(min=0, max=1, help="of --pruning predict: that a score moves by over 0.01")
]
HistoryOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="results of other submissions, for --pruning predict"),
]
CheckpointsOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|URI",
        callback=_place,
        help="of all machines, as s3://bucket/folder; default: each one's temporary folder",
    ),
]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="file of a submission that changed, which no trial depends on; repeatable",
    ),
]
AttemptsOption = Annotated[
    int, typer.Option(min=1, help="of a trial whose process or machine is lost")
]
ConcurrentOption = Annotated[
    int | None, typer.Option(min=1, help="trials at once; default: as many as there is room for")
]
ExclusiveOption = Annotated[
    bool, typer.Option("--exclusive-nodes", help="a trial has its node for itself")
]
HangOption = Annotated[float, typer.Option(min=1, help="seconds without a step that end a trial")]
AddressOption = Annotated[
    str | None, typer.Option(help="of a running Ray cluster; default: start one here")
]
JsonOption = Annotated[bool, typer.Option("--json", help="as JSON")]


@contextmanager
def preparing() -> Iterator[Callable[[int, int, str], None]]:
    """Shows what a workload reports while it makes its data ready; nothing where nothing is."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("preparing {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        task = bars.add_task("data", visible=False)

        def report(done: int, parts: int, name: str) -> None:
            bars.update(task, completed=done, total=parts, description=name, visible=done < parts)

        yield report


def say(text: str, style: str = "") -> None:
    """Prints text as it is: no colours, no markup, no escape sequences of names in it."""
    console.print(printable(text), style=style, highlight=False, markup=False)


def print_json(data: Any) -> None:
    """Writes plain data to stdout."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")
