"""The commands for authors of submissions: new, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import JsonOption, print_json, say
from scoring.records import Tuning

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
    from harness.submission.loading import find

    if workload:
        say(f"Written: {write_workload(name)}. To check it: chronograd check ./{name}")
        return

    place = write(name, tuning.value)
    path = name if find(str(name)) == place.resolve() else f"./{name}"
    say(f"Written: {place}. To check it: chronograd check {path}")


def check(
    submission: Annotated[
        str, typer.Argument(help="a name or a path; or the folder of a workload")
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
    """
    from harness.cli.given import hyperparameters, say_which
    from harness.commands.check import findings
    from harness.commands.check_processes import findings_of
    from harness.commands.check_workload import is_workload, workload_findings
    from harness.commands.finding import worst
    from harness.submission.loading import find, name_of
    from workloads import names, register, tiny

    if is_workload(submission):
        place, checks = Path(submission).resolve(), workload_findings(register(submission))
    else:
        say_which([submission], tuning)
        place = find(submission, tuning)
        asked = (place, tiny.workloads, names(), hyperparameters(hparams))
        checks = findings(*asked) if processes == 1 else findings_of(processes, *asked)
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
        say(f"{name_of(place)} {_VERDICTS[passed]}.")
    if passed is not True:
        raise typer.Exit(1 if passed is False else 2)
