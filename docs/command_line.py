"""Writes docs/command_line.md from the command line itself: `python -m docs.command_line`."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import typer
from typer.main import get_command, get_command_name

from harness.cli import app

PAGE = Path(__file__).with_suffix(".md")
OTHERS = "Options"  # the panel of options that name none
KINDS = {int: "integer", float: "number", str: "text", Path: "path"}
INTRODUCTION = """\
# Command line

All commands and options of `chronograd`. This page is generated: after changing an option, run
`python -m docs.command_line`. Every command also has `--help`, and prints one line and exits with 2
where it was called incorrectly; [Sweeps](sweeps.md#exit-codes) lists the exit codes.
[README](../README.md) shows the commands in use, [Records](records.md) what they write.
"""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An argument or option of a command.

    Attributes:
        names: As typed: `--seed`, or the name of an argument.
        choices: The values that it may have; empty where these are not listed.
        value: What is given to it; "" for a switch.
        default: As typed; "" where there is none.
        panel: Its group in `--help`; "" for an argument.
    """

    names: tuple[str, ...]
    choices: tuple[str, ...]
    value: str
    default: str
    help: str
    panel: str
    required: bool
    repeatable: bool


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its name with that of its group, what it does, and what it takes."""

    name: str
    text: str
    parameters: list[Parameter]


def commands() -> list[Command]:
    """All commands, in the order of `chronograd --help`; the first is `chronograd` itself."""
    root = get_command(app)
    assert app.registered_callback is not None
    assert app.registered_callback.callback is not None
    top = Command(
        name="chronograd",
        text="Options before the command.",
        parameters=list(_parameters(root, app.registered_callback.callback)),
    )
    return [top, *_commands(app, root, "chronograd")]


def _commands(group: typer.Typer, command: Any, name: str) -> Iterator[Command]:
    for info in group.registered_commands:
        assert info.callback is not None
        own = info.name or get_command_name(info.callback.__name__)
        yield Command(
            name=f"{name} {own}",
            text=inspect.getdoc(info.callback) or "",
            parameters=list(_parameters(command.commands[own], info.callback)),
        )
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from _commands(
            below.typer_instance, command.commands[below.name], f"{name} {below.name}"
        )


def _parameters(command: Any, callback: Callable[..., Any]) -> Iterator[Parameter]:
    hints = get_type_hints(callback, include_extras=True)
    defaults = {n: p.default for n, p in inspect.signature(callback).parameters.items()}
    for parameter in command.params:
        if parameter.name not in hints or parameter.hidden:
            continue
        kind, *marks = get_args(hints[parameter.name])
        option = next(mark for mark in marks if hasattr(mark, "rich_help_panel"))
        is_option = parameter.opts[0].startswith("-")
        repeatable = next((True for part in (kind, *get_args(kind)) if _is_list(part)), False)
        plain = _innermost(kind)
        choices = tuple(plain) if isinstance(plain, type) and issubclass(plain, StrEnum) else ()
        value = option.metavar or "|".join(choices) or KINDS.get(plain, "")
        yield Parameter(
            names=(*parameter.opts, *parameter.secondary_opts) if is_option
            else (option.metavar or str(parameter.name).upper(),),
            choices=choices,
            value="" if plain is bool else value,
            default=_shown(defaults[parameter.name], parameter),
            help=option.help or "",
            panel=(option.rich_help_panel or OTHERS) if is_option else "",
            required=parameter.required,
            repeatable=repeatable,
        )  # fmt: skip


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is list


def _innermost(kind: Any) -> Any:
    """The type of one value: `str` of `list[str] | None`."""
    while arguments := [part for part in get_args(kind) if part is not NoneType]:
        kind = arguments[0]
    return kind


def _shown(default: Any, parameter: Any) -> str:
    if default in (None, inspect.Parameter.empty, ..., [], ()):
        return ""
    if isinstance(default, bool):
        names = parameter.opts if default else parameter.secondary_opts
        return f"`{names[0]}`" if names else ""
    return f"`{default}`" if str(default) else ""


def page() -> str:
    """The page, as Markdown."""
    return "\n".join([INTRODUCTION, *map(_section, commands())])


def _section(command: Command) -> str:
    summary, _, rest = command.text.partition("\n\n")
    parts = [f"## {command.name}\n", f"{summary}\n", *_examples(rest)]
    arguments = [p for p in command.parameters if not p.panel]
    if arguments:
        parts += ["| argument | description |", "|---|---|"]
        parts += [f"| `{_cell(p.names[0])}` | {_description(p)} |" for p in arguments]
        parts.append("")
    for panel in dict.fromkeys(p.panel for p in command.parameters if p.panel):
        parts += [f"**{panel}**\n", "| option | value | default | description |"]
        parts.append("|---|---|---|---|")
        for parameter in (p for p in command.parameters if p.panel == panel):
            names = ", ".join(f"`{name}`" for name in parameter.names)
            value = f"`{_cell(parameter.value)}`" if parameter.value else ""
            parts.append(f"| {names} | {value} | {parameter.default} | {_description(parameter)} |")
        parts.append("")
    return "\n".join(parts)


def _examples(text: str) -> Iterator[str]:
    """The examples of a docstring as code, its other paragraphs as they are."""
    lines = [re.sub(r"^(Examples?:|and:)\s*", "", line).strip() for line in text.splitlines()]
    calls = [line for line in lines if line.startswith("chronograd ")]
    rest = " ".join(line for line in lines if line and line not in calls)
    if rest:
        yield textwrap.fill(rest, 120, break_long_words=False) + "\n"
    if calls:
        yield "\n".join(["```", *calls, "```", ""])


def _description(parameter: Parameter) -> str:
    notes = ["required"] * (parameter.required and bool(parameter.panel))
    notes += ["repeatable"] * (parameter.repeatable and "repeatable" not in parameter.help)
    return "; ".join(filter(None, [_cell(parameter.help), *notes]))


def _cell(text: str) -> str:
    """Text of a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
