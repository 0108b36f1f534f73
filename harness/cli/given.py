"""Checks of arguments: names of submissions and workloads, hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from scoring.files import load_json, parse_json

_POINT = """give a JSON object such as '{"learning_rate": 0.01}', or the path of a file with one"""


def say_which(names: Sequence[str], tuning: str | None) -> None:
    """Prints on stderr which submission is used if a name refers to more than one."""
    from harness.commands.dotted import looks_dotted
    from harness.submission.loading import candidates, library

    root = library().resolve()
    for name in names:
        found = candidates(name, tuning)
        here = next((place for place in found if not place.is_relative_to(root)), None)
        if here is None:
            continue
        if looks_dotted(name):
            typer.echo(f"{name}: using {here}, not an optimizer class", err=True)
        elif found[0] != here:
            note = f"using the library's submission; for {here} pass ./{name}"
            typer.echo(f"{name}: {note}", err=True)
        elif len(found) > 1:
            typer.echo(f"{name}: using {here}, not the library's submission", err=True)


def hyperparameters(given: str | None) -> dict[str, Any] | None:
    """Reads --hparams: a JSON object, or the path of a file that contains one."""
    if given is None:
        return None
    try:
        inline = given.lstrip().startswith("{")
        point = parse_json(given) if inline else load_json(Path(given))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise typer.BadParameter(f"--hparams {given[:200]}: {why}; {_POINT}") from None
    if not isinstance(point, dict):
        raise typer.BadParameter(f"--hparams {given[:200]}: holds no JSON object; {_POINT}")
    return point


def registered(given: str | list[str] | None) -> str | list[str] | None:
    """Returns the names of workloads that are given by their names or by paths of folders."""
    if not given:
        return given
    import workloads

    return workloads.named(given) if isinstance(given, str) else [*map(workloads.named, given)]
