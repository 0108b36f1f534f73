"""Commands that take records: each field of a record becomes an option of the command."""

from __future__ import annotations

import inspect
import itertools
import shlex
from collections.abc import Callable, Container, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from functools import wraps
from typing import Any, cast, get_type_hints

import typer

from harness.sweep.options import SweepOptions
from scoring.records import Pruning

Help = Mapping[type[Any], Mapping[str, Any]]  # annotations of options, by record and field


def takes_records(
    options: Help, only: Mapping[type[Any], Container[str]] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command: each parameter that is a record becomes one option per field.

    Args:
        options: The options of all fields, by record. A new field is added only there and in its
            record.
        only: The fields that this command offers, by record; the others keep their defaults. All
            fields are offered of a record that is not listed.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        records: dict[str, type] = {}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            hint = hints[parameter.name]
            if not is_dataclass(hint):
                parameters.append(parameter.replace(annotation=hint, kind=parameter.KEYWORD_ONLY))
                continue
            record = records[parameter.name] = cast(type, hint)
            names = [field.name for field in fields(record)]
            offered = (only or {}).get(record, names)
            parameters += [
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=_default(field),
                    annotation=options[record][field.name],
                )
                for field in fields(record)
                if field.name in offered
            ]

        @wraps(command)
        def call(**values: Any) -> None:
            for name, record in records.items():
                names = [field.name for field in fields(record) if field.name in values]
                given = {name: values.pop(name) for name in names}
                plain = {n: _plain(value) for n, value in given.items() if value is not None}
                values[name] = record(**plain)  # a missing list is None: the default applies
            command(**values)

        del call.__wrapped__
        setattr(call, "__signature__", inspect.Signature(parameters))  # noqa: B010 - typer reads it
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return decorate


def names_given(context: typer.Context) -> set[str]:
    """Returns the names of the parameters that are on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def override(context: typer.Context, recorded: SweepOptions, given: SweepOptions) -> SweepOptions:
    """Returns `recorded` with those fields of `given` that are on the command line."""
    names = {field.name for field in fields(recorded)} & names_given(context)
    changes = {name: getattr(given, name) for name in names}
    if changes.get("pruning", Pruning.PREDICT) is not Pruning.PREDICT:
        changes.setdefault("history", ())  # it is for predictions alone
    return replace(recorded, **changes)


def as_options(record: SweepOptions) -> str:
    """Returns what differs from the defaults, as command-line options; "" if nothing does."""
    defaults = type(record)()
    given = []
    for field in fields(record):
        value, option = getattr(record, field.name), f"--{field.name.replace('_', '-')}"
        if value == getattr(defaults, field.name):
            continue
        values = value if isinstance(value, tuple) else (value,)
        given += [[option] if item is True else [option, str(item)] for item in values]
    return shlex.join(itertools.chain.from_iterable(given))


def _default(field: Field[Any]) -> Any:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return None if default == () else default


def _plain(value: Any) -> Any:
    """Converts lists to tuples, because records are immutable."""
    return tuple(value) if isinstance(value, list) else value
