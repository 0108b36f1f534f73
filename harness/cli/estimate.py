"""The command estimate, which estimates the hours of a sweep, or of its remaining trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    MACHINE,
    OPTIONS,
    JsonOption,
    console,
    preparing,
    print_json,
    say,
)
from harness.cli.records import names_given, takes_records
from harness.sweep.options import PlanOptions, SweepOptions, deciding
from scoring.records import RunOptions
from scoring.tree import EXPERIMENT_FILE

if TYPE_CHECKING:
    from harness.commands.estimate import Estimate


@takes_records(OPTIONS, only=MACHINE)
def estimate(
    context: typer.Context,
    asked: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBMISSION...|DIR",
            help="submissions of a new sweep, or the results directory of a sweep to resume",
        ),
    ],
    plan: PlanOptions,
    slots: Annotated[
        int | None, typer.Option(min=1, help="trials at once; default: as many as fit here")
    ] = None,
    records: Annotated[
        list[Path] | None, typer.Option(help="earlier results trees or AlgoPerf's logs")
    ] = None,
    as_json: JsonOption = False,
    *,
    options: RunOptions,
) -> None:
    """Estimates the hours of a sweep, with pruning and without.

    Examples:
      chronograd estimate nadamw adamw --suite mini --records results/earlier
      chronograd estimate results/mine
    """
    from harness.commands.estimate_inputs import estimate_left, estimate_request
    from harness.commands.running import requested

    tree = Path(asked[0])
    if len(asked) == 1 and (tree / EXPERIMENT_FILE).is_file():
        _refuse_beside_tree(context)
        show(*estimate_left(tree, records or [], slots), as_json)
        return
    how = deciding(plan.studies, SweepOptions())
    request = requested(asked, plan, options, max_studies=how.most)
    with preparing() as progress:
        found = estimate_request(request, records or [], slots, progress)
    show(*found, as_json)


def _refuse_beside_tree(context: typer.Context) -> None:
    """Raises BadParameter for options that are already fixed by the plan of DIR."""
    for name in sorted(names_given(context) - {"asked", "slots", "records", "as_json"}):
        option = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(f"{option} cannot be used with DIR, which has its own plan")


def show(found: Estimate, notes: Sequence[str], as_json: bool) -> None:
    """Prints an estimate."""
    from scoring.plain import to_plain
    from scoring.report.fitted import Column, FittedTable

    if as_json:
        print_json({**to_plain(found), "notes": list(notes)})
        return
    table = FittedTable(
        [
            Column("workload"),
            Column("submission"),
            Column("trials", right=True, spare=2),
            Column("hours", right=True),
            Column("with pruning", right=True),
            Column("from", spare=1, prose=True),
        ]
    )
    for cell in found.cells:
        cut = _shown(cell.pruned_hours)
        table.add_row(
            cell.workload, cell.submission, str(cell.trials), _shown(cell.hours), cut, cell.source
        )
    console.print(table)
    say_hours(found)
    for note in notes:
        say(note)


def say_hours(found: Estimate) -> None:
    """Prints the total hours of an estimate."""
    for name, hours in (("without pruning", found.hours), ("with pruning", found.pruned)):
        if hours is not None:
            gpus = f", {_shown(hours.gpus)} GPU hours" if hours.gpus else ""
            slots = f"{found.slots} slot{'s' * (found.slots > 1)}"
            say(
                f"{name}: {_shown(hours.trials)} hours of trials, {_shown(hours.wall)} hours on "
                f"{slots}{gpus}"
            )


def _shown(hours: float | None) -> str:
    """Formats hours with about three digits; "?" if unknown."""
    from scoring.report.terminal import format_number

    return "?" if hours is None else format_number(hours)
