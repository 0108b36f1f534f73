"""Options of `score` that change what is scored: relaxed targets, steps instead of seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scoring import times
    from scoring.reading.results import Results
    from scoring.views import RelaxationSweep


class By(StrEnum):
    """What a time to target counts."""

    SECONDS = "seconds"
    STEPS = "steps"


RelaxOption = Annotated[
    str | None, typer.Option(metavar="P|W=P,...", help="relax targets by fractions, such as 0.1")
]
RelaxSweepOption = Annotated[
    str | None, typer.Option(metavar="FROM:TO:STEP", help="show ranks as all targets are relaxed")
]
ByOption = Annotated[By, typer.Option(help="unit of times to target")]
StepTimesOption = Annotated[
    bool,
    typer.Option(
        "--step-times", help="show seconds per step, and the fraction of time in evaluations"
    ),
]


def view(
    results: Results, relax: str | None, relax_sweep: str | None, by: By, method: times.Method
) -> tuple[Results, RelaxationSweep | None]:
    """Returns the results as --relax and --by select them, and the ranks of --relax-sweep."""
    from scoring.views import Relaxed, by_steps, read_amounts, read_range, relaxation_sweep

    sweep = None
    if relax_sweep is not None:
        amounts = read_range(relax_sweep)
        sweep = relaxation_sweep(results, amounts, method, steps=by is By.STEPS)
    shown = results
    if relax is not None:
        shown = Relaxed(results).by(read_amounts(relax, results.scope.workloads))
    return (by_steps(shown) if by is By.STEPS else shown), sweep


def refuse_beside_view(
    relax: str | None, by: By, official: bool, beside: tuple[object, ...]
) -> None:
    """Raises BadParameter for options that need times in seconds to unchanged targets."""
    other = "--by steps" if by is By.STEPS else "--relax" if relax is not None else ""
    if other and any(option is not None for option in beside):
        raise typer.BadParameter(
            f"{other} cannot be combined with --speedup, --reference or --save-reference"
        )
    if by is By.STEPS and official:
        raise typer.BadParameter("--by steps needs --method rules: AlgoPerf's script uses seconds")
