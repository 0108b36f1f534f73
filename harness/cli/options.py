"""The options that commands share, and the console on which they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.given import registered
from harness.cli.output import make_console
from harness.sweep.options import AUTO, OptimizerOptions, PlanOptions, Schedule, SweepOptions
from scoring.escaping import printable
from scoring.records import ClockKind, Decide, Order, Pruning, RunOptions, Tuning, Until

console = make_console()
INTERRUPTED = 130  # the exit code that shells use for Ctrl-C

# The panels of --help.
PLAN, TRIALS, SWITCHES = "What is run", "How trials run", "How trials run: switches"
OPTIMIZERS, CLUSTER = "Optimizer classes", "Cluster"
PRUNING, FAILURES = "Pruning", "Failures"
STUDIES = "Number of studies"


class Device(StrEnum):
    """The device on which a trial runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Track(StrEnum):
    """Experiment trackers."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"


def _folder(given: str | None) -> str | None:
    return None if given is None else str(Path(given).resolve())


def _place(given: str | None) -> str | None:
    """Returns a path as absolute, or a URI after checking that it can be opened."""
    if given is None or "://" not in given:
        return _folder(given)
    from harness.checkpoint.storage import storage

    storage(given)
    return given


def _absolute(given: list[Path] | None) -> list[Path]:
    return [path.absolute() for path in given or []]


def _installed(names: list[Track] | None) -> list[str]:
    """Raises an error before anything runs if the package of a tracker is missing."""
    if names:
        from harness.progress.track import require

        require(names)
    return [name.value for name in names or []]


def _option(help: str, panel: str, **settings: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=panel, **settings)


def _number(help: str, panel: str, **limits: float) -> Any:
    return _option(help, panel, metavar="N", **limits)


def _studies(given: str) -> int:
    if given != "auto" and (not given.isdecimal() or int(given) < 1):
        raise typer.BadParameter(f"{given!r} is neither a number from 1 nor auto")
    return AUTO if given == "auto" else int(given)


DataDirOption = Annotated[Path | None, typer.Option(help="folder of the datasets")]
CheckpointsOption = Annotated[
    str | None,
    _option(
        "where checkpoints are kept: a path or URI that all machines reach, such as "
        "s3://bucket/folder; default: each machine's temporary folder",
        FAILURES, metavar="PATH|URI", callback=_place,
    ),
]  # fmt: skip
AddressOption = Annotated[
    str | None, _option("address of a running Ray cluster; default: start one here", CLUSTER)
]
TrackOption = Annotated[
    list[Track] | None,
    typer.Option(callback=_installed, help="also write evaluations to this tracker; repeatable"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]
TuningOption = Annotated[
    Tuning | None,
    _option("AlgoPerf's tuning rules; default: external if there is a search space", PLAN),
]
RulesetOption = Annotated[
    str, _option("the rules: demo, mini, another of `scoring/rulesets`, or a TOML file", PLAN)
]
_STUDIES = "studies per submission and workload; auto: until results decide the order; default: "
StudiesOption = Annotated[
    int | None,
    _option(f"{_STUDIES}the ruleset's", PLAN, metavar="N|auto", parser=_studies),
]
RecordedStudiesOption = Annotated[
    int | None, _option(f"{_STUDIES}as before", PLAN, metavar="N|auto", parser=_studies)
]
BaselineStudiesOption = Annotated[
    int | None, _number("studies of a suite's baseline; default: the ruleset's", PLAN, min=1)
]
SearchSpaceOption = Annotated[
    Path | None,
    _option(
        "search space for all submissions; default: each submission's own", PLAN,
        exists=True, dir_okay=False, resolve_path=True,
    ),
]  # fmt: skip


OPTIONS: dict[type, dict[str, Any]] = {
    PlanOptions: {
        "suite": Annotated[str | None, _option("a set of workloads: demo, mini, ...", PLAN)],
        "workload": Annotated[
            list[str] | None,
            typer.Option(
                "--workload", "-w", help="a workload, by name or folder; repeatable",
                rich_help_panel=PLAN, callback=registered,
            ),
        ],
        "ruleset": RulesetOption,
        "tuning": TuningOption,
        "studies": StudiesOption,
        "trials": Annotated[
            int | None, _number("trials per study; default: the ruleset's", PLAN, min=1)
        ],
    },
    RunOptions: {
        "seed": Annotated[int, _number("seed of all random number generators", TRIALS, min=0)],
        "clock": Annotated[
            ClockKind,
            _option("wall: seconds; steps: a fixed charge per unit of training work, which "
                    "repeats bit for bit", TRIALS),
        ],
        "until": Annotated[
            Until, _option("the goal that ends a trial; budget: none ends it", TRIALS)
        ],
        "stop_diverged": Annotated[
            bool,
            _option("end a trial whose parameters are not finite in two evaluations", SWITCHES),
        ],
        "keep_checkpoint": Annotated[
            bool,
            _option("keep the last weights of every trial, not only of those that reach their "
                    "goals; `chronograd landscape` reads them", SWITCHES),
        ],
        "compile": Annotated[
            bool, _option("use torch.compile on GPUs, for workloads that ask for it", SWITCHES)
        ],
        "max_steps": Annotated[
            int | None,
            _number("maximum number of steps of a trial; under rulesets by steps, such as track3, "
                    "the step at which all trials end", TRIALS, min=1),
        ],
        "batch_size": Annotated[
            int | None,
            _number("global batch size; default: the submission's, else the workload's",
                    TRIALS, min=1),
        ],
        "data_dir": Annotated[
            str | None, _option("folder of the datasets, on every machine", TRIALS,
                                metavar="PATH", callback=_folder),
        ],
        "cpus_per_trial": Annotated[
            int, _number("CPUs, and torch threads, of each process of a trial", TRIALS, min=1)
        ],
        "gpus_per_trial": Annotated[
            int, _number("GPUs of a trial, one process per GPU; 0: the CPU", TRIALS, min=0)
        ],
        "processes_per_trial": Annotated[
            int, _number("processes that train a trial together on CPUs", TRIALS, min=1)
        ],
    },
    OptimizerOptions: {
        "schedule": Annotated[
            Schedule, _option("learning-rate schedule (optimizer classes only)", OPTIMIZERS)
        ],
        "warmup": Annotated[
            float | None,
            _number("fraction of training spent on linear warm-up (optimizer classes only)",
                    OPTIMIZERS, min=0, max=1),
        ],
        "grad_clip": Annotated[
            float | None,
            _number("clip the gradient norm at this value (optimizer classes only)",
                    OPTIMIZERS, min=0),
        ],
    },
    SweepOptions: {
        "address": AddressOption,
        "max_concurrent": Annotated[
            int | None, _number("trials at once; default: as many as fit", CLUSTER, min=1)
        ],
        "exclusive_nodes": Annotated[
            bool,
            typer.Option(
                "--exclusive-nodes/--shared-nodes", help="give each trial a node to itself",
                rich_help_panel=CLUSTER,
            ),
        ],
        "checkpoint_dir": CheckpointsOption,
        "max_attempts": Annotated[
            int, _number("maximum number of attempts of a trial whose process or machine is lost",
                         FAILURES, min=1),
        ],
        "hang_timeout": Annotated[
            float, _number("seconds without a step after which a trial is ended", FAILURES, min=1)
        ],
        "pruning": Annotated[
            Pruning,
            _option("exact: stop trials that provably cannot change the leaderboard; predict: "
                    "also those that fall behind the trials of --history; off: stop none", PRUNING),
        ],
        "risk": Annotated[
            float,
            _number("maximum probability that --pruning predict, applied to a submission, "
                    "changes a score by more than --max-change", PRUNING, min=0, max=1),
        ],
        "max_change": Annotated[
            float,
            _number("the change of a score that --risk is the probability of", PRUNING, min=0,
                    max=0.5),
        ],
        "history": Annotated[
            list[Path] | None,
            _option("results of other submissions, for --pruning predict; repeatable", PRUNING,
                    metavar="DIR", callback=_absolute),
        ],
        "order": Annotated[
            Order,
            _option("cost: likely winners first, for the fewest hours; latency: longest first, "
                    "for the earliest end", PRUNING),
        ],
        "decide": Annotated[
            Decide | None,
            _option("add studies until results decide which of each two submissions is faster: "
                    "all (as --studies auto), or which is the fastest: top", STUDIES),
        ],
        "confidence": Annotated[
            float,
            _number("one minus the probability that any decision is wrong", STUDIES, min=0, max=1),
        ],
        "max_studies": Annotated[
            int, _number("maximum number of studies per submission and workload", STUDIES, min=1)
        ],
        "track": TrackOption,
    },
}  # fmt: skip
Offered = dict[type[Any], set[str]]
_ALL = {field.name for field in fields(RunOptions)}
ONE_PROCESS: Offered = {RunOptions: _ALL - {"gpus_per_trial", "processes_per_trial"}}
MACHINE: Offered = {RunOptions: {"seed", "data_dir", "cpus_per_trial", "gpus_per_trial"}}


@contextmanager
def preparing() -> Iterator[Callable[[int, int, str], None]]:
    """Shows a progress bar while a workload prepares its data, if there is any to prepare."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("preparing {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        task = bars.add_task("data", visible=False)

        def report(done: int, parts: int, name: str) -> None:
            bars.update(task, completed=done, total=parts, description=name, visible=done < parts)

        yield report


def say(text: str, style: str = "") -> None:
    """Prints text literally: without highlighting, markup or escape sequences."""
    console.print(printable(text), style=style, highlight=False, markup=False)


def print_json(data: Any) -> None:
    """Writes plain data to stdout."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")
