"""The `chronograd` command. Heavy modules are imported inside the commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.cli import (
    agreement,
    calibrate,
    check,
    data,
    doctor,
    estimate,
    landscape,
    listings,
    memory,
    replay,
    reproduce,
    results,
    run,
    serve,
    site,
    status,
    sweep,
    targets,
    verify,
)
from harness.cli.completion import completed
from harness.cli.options import INTERRUPTED, console, say
from harness.cli.output import unfailing
from harness.cli.sweep_file import expanded
from harness.executors.head import exit_now
from harness.sweep.interruption import HeadLostError
from harness.system import debug_log
from harness.system.exits import exit_soon
from harness.system.signals import sigterm_as_interrupt
from scoring.escaping import printable

app = typer.Typer(
    help="Measures how fast training algorithms bring neural networks to a target.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    run.run,
    sweep.sweep,
    sweep.resume,
    status.status,
    results.score,
    results.explain,
    results.compare,
    agreement.agreement,
    verify.verify,
    replay.replay,
    reproduce.reproduce,
    memory.memory,
    landscape.landscape,
    site.site,
    serve.serve,
    check.new,
    check.check,
    calibrate.calibrate,
    targets.targets,
    doctor.doctor,
    estimate.estimate,
    listings.workloads,
    listings.submissions,
    listings.rulesets,
):
    app.command()(completed(command))
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        from harness.environment import installed_version

        say(f"chronograd {installed_version('chronograd') or '(not installed)'}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(help="show tracebacks of errors")] = False,
    verbose: Annotated[
        bool,
        typer.Option(help="print a debug log to stderr; a sweep's workers write it to OUT/logs"),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="print the version"),
    ] = False,
) -> None:
    """Starts the debug log; `main` handles --debug."""
    if verbose:
        debug_log.show()


def main() -> None:
    """Runs the command; an error is printed as one line on stderr, with --debug as a traceback."""
    try:
        _run()
    except SystemExit as end:
        exit_soon(end.code if isinstance(end.code, int) else 0)
        raise


def _run() -> None:
    cache = os.environ.get("CHRONOGRAD_CACHE", "~")
    if not cache.startswith("~"):  # a submission may change the working directory
        os.environ["CHRONOGRAD_CACHE"] = str(Path(cache).absolute())
    debug = "--debug" in sys.argv
    with unfailing(console), sigterm_as_interrupt():
        try:
            app(args=_with_file(_without_aliases(sys.argv[1:])), prog_name="chronograd")
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)
        except HeadLostError as error:
            exit_now(str(error))
        except ModuleNotFoundError as error:
            if debug or error.name is None:
                raise
            package = error.name.partition(".")[0]
            _fail(
                f"this command needs the Python package {package}, which is not installed; "
                "pip install 'chronograd[run]' installs everything that trials need",
                2,
            )
        except OSError as error:
            if debug:
                raise
            where = f"{error.filename}: " if error.filename is not None else ""
            _fail(f"{where}{error.strerror or error} (--debug shows where)", 2)
        except Exception as error:
            if debug or not isinstance(error, _user_errors()):
                raise
            _fail(str(error), 2)


def _without_aliases(arguments: list[str]) -> list[str]:
    """Replaces `sweep --resume DIR` by `resume DIR`, and `doctor --estimate` by `estimate`."""
    place = next((n for n, given in enumerate(arguments) if not given.startswith("-")), 0)
    head, command, rest = arguments[:place], arguments[place : place + 1], arguments[place + 1 :]
    if command == ["sweep"] and any(given.partition("=")[0] == "--resume" for given in rest):
        parts = [given.removeprefix("--resume=") for given in rest if given != "--resume"]
        return [*head, "resume", *parts]
    if command == ["doctor"] and "--estimate" in rest:
        return [*head, "estimate", *(given for given in rest if given != "--estimate")]
    return arguments


def _with_file(arguments: list[str]) -> list[str]:
    """Replaces the TOML file of `sweep FILE` by the options that it has."""
    place = next((n for n, given in enumerate(arguments) if not given.startswith("-")), 0)
    if arguments[place : place + 1] != ["sweep"]:
        return arguments
    command = typer.main.get_command(app).commands["sweep"]  # type: ignore[attr-defined]
    return [*arguments[: place + 1], *expanded(arguments[place + 1 :], command)]


def _user_errors() -> tuple[type[Exception], ...]:
    from scoring.records import UserError
    from workloads import WorkloadNotFoundError

    return UserError, WorkloadNotFoundError


def _fail(message: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True).print(
        printable(f"chronograd: {message}"), highlight=False, markup=False
    )
    raise SystemExit(code)
