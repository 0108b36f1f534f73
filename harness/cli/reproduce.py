"""The command reproduce, which runs published findings and writes a page about them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.options import console, say


def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="findings; default: all")
    ] = None,
    out: Annotated[Path, typer.Option(help="output folder")] = Path("results/findings"),
    quick: Annotated[
        bool, typer.Option("--quick", help="smaller experiments, of a few seconds each")
    ] = False,
) -> None:
    """Reproduces published findings about training algorithms: figures, numbers, verdicts.

    Runs one finding per core at a time. Exit code 1 if any is not reproduced.

    Example: chronograd reproduce double_descent --out results/findings
    """
    import findings
    from harness.commands.reproduce import PAGE
    from harness.commands.reproduce import reproduce as run

    chosen = list(dict.fromkeys(names or findings.names()))
    for name in chosen:
        findings.check_name(name)
    running: list[str] = []
    done = 0

    def started(name: str) -> None:
        running.append(name)
        show()

    def ended(result: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        running.remove(result["name"])
        seconds = f"{result['seconds']:.1f} s"
        say(f"[{done} of {len(chosen)}] {result['name']} ({seconds}): {result['verdict']}")
        show()

    with console.status("starting") as status:

        def show() -> None:
            status.update(f"running: {', '.join(running)}")

        results = run(
            chosen, out, quick=quick, processes=len(os.sched_getaffinity(0)),
            started=started, ended=ended,
        )  # fmt: skip
    say(f"Written: {out / PAGE}")
    if not all(result["reproduced"] for result in results):
        raise typer.Exit(1)
