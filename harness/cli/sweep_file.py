"""A sweep as a TOML file, whose keys are the options of `chronograd sweep`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from harness.cli.records import names_given
from scoring.names import known_names
from scoring.records import UserError
from scoring.toml import load_toml, toml_value
from scoring.writing import write_text

_EITHER = {"suite": "workload", "workload": "suite"}  # one on the command line replaces the other
_NOT_IN_FILES = ("dry_run", "help")


def expanded(arguments: Sequence[str], command: Any) -> list[str]:
    """Replaces the name of a file at the start of the arguments by what the file has.

    Args:
        arguments: What follows `chronograd sweep`.
        command: The command sweep.

    Raises:
        UserError: The file cannot be read, or has a key that is not an option.
    """
    if not arguments or not arguments[0].endswith(".toml"):
        return [*arguments]
    path, rest = Path(arguments[0]), [*arguments[1:]]
    try:
        data = load_toml(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read as TOML ({why})") from None
    known = {str(p.name): p for p in command.params if p.name not in _NOT_IN_FILES}
    options: list[str] = []
    submissions: list[str] = []
    for key, value in data.items():
        name = key.replace("-", "_")
        if name not in known:
            raise UserError(f"{path}: {key}: unknown key. {known_names(key, [*known])}")
        if isinstance(value, dict) or (isinstance(value, list) and any(map(_is_nested, value))):
            raise UserError(f"{path}: {key}: must be a value, or a list of values")
        if known[name].param_type_name == "argument":
            submissions += [str(item) for item in (value if isinstance(value, list) else [value])]
        elif not any(_is_given(known.get(other), rest) for other in (name, _EITHER.get(name, ""))):
            options += _words(known[name], value)
    return [*submissions, *options, *rest]


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _is_given(option: Any, arguments: Sequence[str]) -> bool:
    names = [*option.opts, *option.secondary_opts] if option else []
    return any(word.partition("=")[0] in names for word in arguments)


def _words(option: Any, value: Any) -> Iterator[str]:
    """Yields an option as words of a command line."""
    if isinstance(value, bool):
        names = option.opts if value else option.secondary_opts
        yield from names[:1]
        return
    for item in value if isinstance(value, list) else [value]:
        yield f"{option.opts[0]}={item}"


def write_sweep(context: typer.Context, out: Path) -> None:
    """Writes OUT/sweep.toml: the sweep as it is run, with what the command line replaced."""
    import workloads

    given = names_given(context) - {*_NOT_IN_FILES}
    values = {name: _plain(value) for name, value in context.params.items() if name in given}
    if "workload" in values:
        values["workload"] = [str(workloads.own_folder(w) or w) for w in values["workload"]]
    text = "".join(f"{name} = {toml_value(value)}\n" for name, value in values.items())
    write_text(out / "sweep.toml", text)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float)) else str(value)
