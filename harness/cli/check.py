"""The commands for authors of submissions: new, check."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import JsonOption, Tuning, print_json, say


def new(
    name: Annotated[Path, typer.Argument(help="of a folder that is not there yet")],
    tuning: Annotated[Tuning, typer.Option()] = Tuning.EXTERNAL,
) -> None:
    """Writes a submission to start from.

    Example: chronograd new my_optimizer && chronograd check ./my_optimizer
    """
    from harness.new import write
    from harness.submission import find

    place = write(name, tuning.value)
    path = name if find(str(name)) == place.resolve() else f"./{name}"
    say(f"Wrote {place}. Does it keep the contract? chronograd check {path}")


def check(
    submission: Annotated[str, typer.Argument(help="a name or a path")],
    tuning: Annotated[Tuning | None, typer.Option(help="where a name means two")] = None,
    hparams: Annotated[str | None, typer.Option(help="JSON or a JSON file")] = None,
    as_json: JsonOption = False,
) -> None:
    """Does a submission keep the contract? Trains tiny workloads and says what breaks, and where.

    Exit code 0 if it does, 1 if not.
    """
    from harness.check import findings
    from harness.cli.given import hyperparameters, say_which
    from harness.submission import find
    from workloads import names, tiny

    say_which([submission], tuning)
    place = find(submission, tuning)
    found = []
    for finding in findings(place, tiny.workloads, names(), hyperparameters(hparams)):
        found.append(finding)
        if not as_json:
            mark = "ok  " if finding.passed else "FAIL"
            more = f": {finding.what}" if finding.what else ""
            say(f"{mark} {finding.check} ({finding.where}){more}")
            if finding.mend:
                say(f"     mend: {finding.mend}")
    passed = all(finding.passed for finding in found)
    if as_json:
        print_json({"passed": passed, "findings": [asdict(finding) for finding in found]})
    else:
        say(f"{place.name} {'keeps' if passed else 'breaks'} the contract.")
    if not passed:
        raise typer.Exit(1)
