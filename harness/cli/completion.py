"""Shell completion of the names of submissions, workloads, suites and rulesets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import ParameterInfo


def completed(command: Callable[..., None]) -> Callable[..., None]:
    """Adds completion to the parameters of a command that are in `_COMPLETE`."""
    hints = get_type_hints(command, include_extras=True)
    for name, complete in _COMPLETE.items():
        if get_origin(hints.get(name)) is Annotated:
            for part in get_args(hints[name]):
                if isinstance(part, ParameterInfo):
                    part.autocompletion = complete
    command.__annotations__ = hints
    return command


def _submissions(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Completes submissions: those in DIR if a command reads results, else the library's."""
    directory = context.params.get("directory")
    yield from _starting(incomplete, _ranked(Path(directory)) if directory else _library())


def _library() -> list[str]:
    from harness.submission.files import available

    return [name.removeprefix("external_tuning/") for name in available()]


def _ranked(directory: Path) -> list[str]:
    """Returns the submissions of a results tree, or of logs."""
    folders = (folder for folder in directory.glob("*/*/") if any(folder.glob("study_*")))
    return sorted({folder.name for folder in folders})


def _workloads(incomplete: str) -> Iterator[str]:
    from workloads import names

    yield from _starting(incomplete, names())


def _suites(incomplete: str) -> Iterator[str]:
    from workloads import suites

    yield from _starting(incomplete, suites())


def _rulesets(incomplete: str) -> Iterator[str]:
    from scoring.rulesets import names

    yield from _starting(incomplete, names())


def _starting(incomplete: str, known: list[str]) -> Iterator[str]:
    return (name for name in known if name.startswith(incomplete))


_COMPLETE: dict[str, Callable[..., Any]] = {  # by name of the parameter
    **dict.fromkeys(("submission", "submissions", "asked", "first", "second"), _submissions),
    "workload": _workloads,
    "suite": _suites,
    "ruleset": _rulesets,
}
