"""The commands for authors of submissions: new, check."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import JsonOption, print_json, say
from scoring.records import Tuning
from scoring.tree import SEARCH_SPACE_FILE

if TYPE_CHECKING:
    from harness.commands.finding import Finding

_MARKS = {"problem": "FAIL", "undecided": "????", "warning": "note", "ok": "ok  "}
_VERDICTS = {
    False: "violates the contract",
    None: "cannot be checked here; see above what it needs",
    True: "meets the contract",
}


def new(
    name: Annotated[Path, typer.Argument(help="name of the new folder")],
    tuning: Annotated[Tuning, typer.Option(help="AlgoPerf's tuning rules")] = Tuning.EXTERNAL,
    workload: Annotated[
        bool, typer.Option("--workload", help="write a workload instead of a submission")
    ] = False,
) -> None:
    """Writes a submission, or a workload, to start from.

    Examples:
      chronograd new my_optimizer && chronograd check ./my_optimizer
      chronograd new --workload my_task && chronograd check ./my_task
    """
    from harness.commands.new import write
    from harness.commands.new_workload import write_workload

    place = write_workload(name) if workload else write(name, tuning.value)
    path = place if place.is_absolute() else f"./{place}"  # "./" tells it from a library's name
    say(f"Written: {place}. To check it: chronograd check {shlex.quote(str(path))}")


def check(
    submission: Annotated[
        str,
        typer.Argument(help="a name, a path, or an optimizer class; or the folder of a workload"),
    ],
    tuning: Annotated[
        Tuning | None, typer.Option(help="needed where a name has two meanings")
    ] = None,
    hparams: Annotated[
        str | None, typer.Option(help="hyperparameters: JSON, or a JSON file")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="processes that train together, for submissions that need it")
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Checks a submission: trains tiny workloads and prints what violates the contract, and where.

    Given the folder of a workload, it checks the workload.

    Exit code: 0 passed, 1 failed, 2 undecided, because the submission needs
    CUDA or several processes (--processes).

    Examples:
      chronograd check ./my_optimizer
      chronograd check torch.optim.AdamW --hparams '{"lr": 1e-3}'
    """
    from harness.cli.given import hyperparameters, say_which
    from harness.commands.check_workload import is_workload, workload_findings
    from harness.submission.files import name_of
    from harness.system.children import start_importing
    from workloads import register

    if is_workload(submission):
        refused = {"--tuning": tuning, "--hparams": hparams, "--processes": processes > 1}
        if given := [option for option, value in refused.items() if value]:
            raise typer.BadParameter(f"{submission} is a workload, which has no {given[0]}")
        name = register(submission)
        _show(name, workload_findings(name), as_json)
        return
    start_importing()
    say_which([submission], tuning)
    point = hyperparameters(hparams)
    with tempfile.TemporaryDirectory() as folder:
        place = _place(submission, tuning, Path(folder))
        _show(name_of(place), _checks(place, point, processes), as_json)


def _place(submission: str, tuning: Tuning | None, folder: Path) -> Path:
    """Returns a submission's folder or file; that of an optimizer class is written in `folder`."""
    from harness.commands import dotted
    from harness.submission.loading import find
    from harness.sweep.options import OptimizerOptions

    (written,) = dotted.write([submission], folder, OptimizerOptions())
    return find(written, tuning)


def _checks(place: Path, point: dict[str, Any] | None, processes: int) -> Iterator[Finding]:
    """Returns the findings on a submission, from one or several processes."""
    from harness.commands.check_processes import findings_of
    from harness.sweep.resolve import check_names
    from workloads import names, tiny

    if point is not None:
        check_names(place, SEARCH_SPACE_FILE, point)
    return findings_of(processes, place, tiny.workloads, names(), point)


def _show(name: str, checks: Iterator[Finding], as_json: bool) -> None:
    """Prints the findings as they come, and the verdict; exits with 1 or 2 if it is not passed."""
    from harness.commands.finding import worst

    found = []
    for finding in checks:
        found.append(finding)
        if not as_json:
            more = f": {finding.what}" if finding.what else ""
            say(f"{_MARKS[finding.state]} {finding.check} ({finding.where}){more}")
            if finding.fix:
                say(f"     fix: {finding.fix}")
    passed = worst(found).passed
    if as_json:
        keys = ("check", "where", "passed", "what", "fix")
        listed = [{key: getattr(finding, key) for key in keys} for finding in found]
        print_json({"passed": passed, "findings": listed})
    else:
        say(f"{name} {_VERDICTS[passed]}.")
    if passed is not True:
        raise typer.Exit(1 if passed is False else 2)
