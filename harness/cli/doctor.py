"""The command doctor, which checks whether this machine is ready to run trials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from harness.cli.options import (
    AddressOption,
    CheckpointsOption,
    DataDirOption,
    JsonOption,
    RulesetOption,
    console,
    print_json,
)

if TYPE_CHECKING:
    from harness.commands.finding import Finding

_PROBED = "digits"  # small, and its data comes with chronograd
_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    suite: Annotated[
        str | None, typer.Option(help="a set of workloads whose data is needed")
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option("--workload", "-w", help="a workload whose data is needed; repeatable"),
    ] = None,
    ruleset: RulesetOption = "mini",
    data_dir: DataDirOption = None,
    checkpoint_dir: CheckpointsOption = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Checks whether this machine is ready to run trials: versions, hardware, data, cluster.

    Example: chronograd doctor --data-dir /data --address HEAD:6379
    """
    from harness.commands.examination import examine
    from harness.commands.suites import members
    from scoring import rulesets

    here = Path(checkpoint_dir) if checkpoint_dir and "://" not in checkpoint_dir else None
    names = workload or (members(suite, rulesets.load(ruleset)) if suite else [])
    address = address or os.environ.get("RAY_ADDRESS")
    checks = examine(names, data_dir, here, address, probed=_PROBED)
    _show(checks, as_json)
    raise typer.Exit(int(any(check.passed is False for check in checks)))


def _show(checks: list[Finding], as_json: bool) -> None:
    from scoring.report.fitted import Column, FittedTable

    if as_json:
        keys = ("name", "state", "found", "advice")
        print_json({"checks": [dict(zip(keys, _row(check), strict=True)) for check in checks]})
        return
    table = FittedTable(
        [
            Column("check"),
            Column("state"),
            Column("found", prose=True),
            Column("advice", prose=True),
        ]
    )
    for check in checks:
        name, state, found, advice = _row(check)
        table.add_row(name, Text(state, style=_STYLES[state]), found, advice)
    console.print(table)


def _row(check: Finding) -> tuple[str, str, str, str]:
    name = f"{check.check}: {check.where}" if check.where else check.check
    return name, check.state, check.what, check.fix
