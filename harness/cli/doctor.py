"""The command doctor: is this machine ready, and how long will a sweep take."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from harness.cli.options import (
    AddressOption,
    CheckpointsOption,
    CpusOption,
    DataDirOption,
    GpusOption,
    JsonOption,
    RulesetOption,
    TuningOption,
    console,
    print_json,
)

if TYPE_CHECKING:
    from harness.commands.doctor import Check

_PROBED = "digits"  # small, and its data comes with scikit-learn
_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}
_OF_MACHINE = {"address", "checkpoint_dir", "data_dir", "suite", "workload"}
_OF_TREE = {"estimate", "asked", "records", "slots"}
_OF_REQUEST = _OF_TREE | {
    "suite", "workload", "ruleset", "tuning", "studies", "trials", "data_dir", "cpus_per_trial",
    "gpus_per_trial",
}  # fmt: skip


def doctor(
    context: typer.Context,
    asked: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SUBMISSION...|DIR]", help="of --estimate: a sweep, or its rest"),
    ] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="the hours of a sweep")] = False,
    suite: Annotated[str | None, typer.Option(help="a set of workloads: demo, mini")] = None,
    workload: Annotated[list[str] | None, typer.Option("--workload", "-w")] = None,
    ruleset: RulesetOption = "mini",
    tuning: TuningOption = None,
    studies: Annotated[int | None, typer.Option(min=1, help="default: the ruleset's")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="default: the ruleset's")] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, help="trials side by side; default: what fits here")
    ] = None,
    records: Annotated[
        list[Path] | None, typer.Option(help="results trees, or official logs, to learn from")
    ] = None,
    data_dir: DataDirOption = None,
    checkpoint_dir: CheckpointsOption = None,
    cpus_per_trial: CpusOption = 1,
    gpus_per_trial: GpusOption = 0,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Whether this machine is ready to run trials; with --estimate the hours of a sweep.

    Examples: chronograd doctor --data-dir /data --address HEAD:6379
    and: chronograd doctor --estimate nadamw adamw --suite mini --records results/earlier
    and: chronograd doctor --estimate results/mine
    """
    from harness.commands.suites import members
    from harness.sweep.request import Request
    from scoring import rulesets
    from scoring.tree import EXPERIMENT_FILE

    tree = Path(asked[0]) if asked and len(asked) == 1 else None
    if tree is not None and not (tree / EXPERIMENT_FILE).is_file():
        tree = None
    _refuse_beside(context, _OF_REQUEST if estimate and tree is None else _OF_TREE, estimate)
    rules = rulesets.load(ruleset)
    names = workload or (members(suite, rules) if suite else [])
    if not estimate:
        here = Path(checkpoint_dir) if checkpoint_dir and "://" not in checkpoint_dir else None
        checks = _checks(names, data_dir, here, address)
        _show(checks, as_json)
        raise typer.Exit(int(any(check.state == "problem" for check in checks)))
    from harness.cli.estimate import estimate_left, estimate_request, show

    if tree is not None:
        show(*estimate_left(tree, records or [], slots), as_json)
        return
    if not asked or not names:
        raise typer.BadParameter("--estimate needs SUBMISSION... and --suite or --workload, or DIR")
    request = Request(
        submissions=asked, workloads=names, ruleset=rules, tuning=tuning,
        studies=studies, trials=trials,
        options=_options(data_dir, cpus_per_trial, gpus_per_trial),
    )  # fmt: skip
    show(*estimate_request(request, records or [], slots), as_json)


def _refuse_beside(context: typer.Context, of_estimate: set[str], estimate: bool) -> None:
    """Raises BadParameter for options that would be ignored."""
    fit = (of_estimate if estimate else _OF_MACHINE) | {"as_json"}
    for name in context.params.keys() - fit:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            shown = "SUBMISSION" if name == "asked" else f"--{name.replace('_', '-')}"
            beside = "--estimate DIR" if of_estimate is _OF_TREE else "--estimate SUBMISSION..."
            where = f"is of no use with {beside}" if estimate else "needs --estimate"
            raise typer.BadParameter(f"{shown} {where}")


def _options(data_dir: Path | None, cpus: int, gpus: int) -> dict[str, Any]:
    """The fields of an Experiment."""
    folder = None if data_dir is None else str(data_dir.resolve())
    return {
        "seed": 0, "clock": "wall", "data_dir": folder, "cpus_per_trial": cpus,
        "gpus_per_trial": gpus,
    }  # fmt: skip


def _checks(
    names: list[str], data_dir: Path | None, checkpoint_dir: Path | None, address: str | None
) -> list[Check]:
    """Everything that is looked at; workloads named, or else all of them."""
    import workloads
    from harness.commands import doctor, machine
    from harness.commands.doctor import Check, State
    from harness.spec import DataError
    from workloads.prepared import cache_folder

    temporary = Path(tempfile.gettempdir())
    checks = [*doctor.versions(), machine.processor(), machine.memory(), *machine.gpus()]
    if data_dir is not None:
        checks.append(machine.disk("data", data_dir, made=False))
    try:
        checks.append(machine.disk("data that is made", cache_folder()))
    except DataError as error:
        found, _, advice = str(error).partition("; ")
        checks.append(Check("disk: data that is made", State.PROBLEM, found, advice))
    checks.append(machine.disk("temporary files, checkpoints", temporary))
    if checkpoint_dir is not None:
        checks.append(machine.disk("checkpoints", checkpoint_dir))
    checks += doctor.datasets(
        workloads.get, names or workloads.names(), data_dir, needed=bool(names)
    )
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        checks += doctor.cluster(address)
    return [*checks, _step_time()]


def _step_time() -> Check:
    """Times the baseline's step twice, each time in a fresh process, on the GPU if there is one."""
    import torch

    import workloads
    from harness.commands.doctor import Check, State, steps
    from harness.executors.local import ThisProcess
    from harness.sweep.request import Request, check
    from scoring import rulesets

    ruleset = rulesets.load("demo")
    gpus = int(torch.cuda.is_available())
    request = Request(
        submissions=[ruleset.baseline], workloads=[_PROBED], ruleset=ruleset,
        options=_options(None, 1, gpus),
    )  # fmt: skip
    what = f"{ruleset.baseline} on {_PROBED}, on the {'GPU' if gpus else 'CPU'}"
    try:
        draft = check(request, workloads.get)
        executor, probed = ThisProcess(workloads.get), draft.workloads[_PROBED]
        return steps(what, [draft.baseline_step(probed, executor) for _ in range(2)])
    except Exception as error:  # noqa: BLE001 - whatever breaks here breaks every trial
        advice = f"see `chronograd --debug run {ruleset.baseline} --workload {_PROBED}`"
        found = f"{what}: {type(error).__name__}: {error}"
        return Check("step time", State.PROBLEM, found, advice)


def _show(checks: list[Check], as_json: bool) -> None:
    from scoring.records import to_plain
    from scoring.report.fitted import Column, FittedTable

    if as_json:
        print_json({"checks": to_plain(checks)})
        return
    table = FittedTable(
        [
            Column("check"),
            Column("state"),
            Column("found", prose=True),
            Column("what to do", prose=True),
        ]
    )
    for check in checks:
        state = Text(check.state, style=_STYLES[check.state])
        table.add_row(check.name, state, check.found, check.advice)
    console.print(table)
