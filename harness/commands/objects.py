"""Optimizer classes and functions given as Python objects: each is written as a submission.

What an importable module has is given by its dotted name. Anything else, such as what a notebook
defines, is written as source code, together with what it refers to, so that the submission has a
content hash, can be read, and can be sent to other machines.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import linecache
import os
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from harness.submission.loading import FILE, SubmissionError
from harness.sweep.options import OptimizerOptions
from scoring.writing import write_text

_FUTURE = "from __future__ import annotations\n"
_TEMPLATE = '''"""{name}, given to chronograd as a Python object."""

{future}
from types import SimpleNamespace

from submissions import dotted, recipe
from submissions.schedules import SCHEDULES

{source}

def _make_optimizer(params, hyperparameters, horizon):
    {call}


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(_make_optimizer, SCHEDULES[{schedule!r}])
)
'''
_FUNCTION = "return {name}(params, hyperparameters, horizon)"
_CLASS = """point = {{}} if hyperparameters is None else hyperparameters._asdict()
    return dotted._make({name}, {name!r}, params, SimpleNamespace(**point), horizon)"""

Given = str | os.PathLike[str] | type | Callable[..., Any]


def submission_of(given: Given, folder: Path, options: OptimizerOptions) -> str:
    """Returns the name, path or dotted name of a submission.

    Args:
        given: One of these, an optimizer class, or a function of the parameters, the
            hyperparameters and the horizon in steps that returns an optimizer.
        folder: Folder in which an object that has no dotted name is written.
        options: The learning-rate schedule.

    Raises:
        SubmissionError: The object cannot be written as source code.
    """
    if isinstance(given, str):
        return given
    if isinstance(given, os.PathLike):
        return str(Path(given).absolute())
    is_class = isinstance(given, type)
    if is_class and (name := _dotted_name(given)):
        return name
    name = given.__name__
    if (options.warmup, options.grad_clip) != (None, None):
        raise SubmissionError(
            f"{name}: warmup and grad_clip are for classes of installed packages; give "
            "warmup_factor and grad_clip as hyperparameters"
        )
    if not is_class:
        _check_signature(given)
    sources: dict[str, str] = {}
    _collect(given, name, sources)
    text = _TEMPLATE.format(
        name=name,
        future=_FUTURE,
        source="\n\n".join(sources.values()),
        call=(_CLASS if is_class else _FUNCTION).format(name=name),
        schedule=str(options.schedule),
    )
    file = folder / name / FILE
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise SubmissionError(f"{file}: holds another version of {name}; choose another `out`")
    write_text(file, text)
    return str(file.parent)


def _dotted_name(thing: Any) -> str | None:
    """Returns the shortest dotted name from which an object can be imported; None if none can."""
    parts = str(thing.__module__).split(".")
    name = str(thing.__qualname__)
    if parts == ["__main__"] or "." in name:
        return None
    for length in range(1, len(parts) + 1):
        module = ".".join(parts[:length])
        try:
            if getattr(importlib.import_module(module), name, None) is thing:
                return f"{module}.{name}"
        except ImportError:
            return None
    return None


def _check_signature(function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        raise SubmissionError(
            f"{function.__name__}: must take the parameters, the hyperparameters and the horizon "
            "in steps, and return an optimizer"
        ) from None


def _collect(thing: Any, name: str, sources: dict[str, str]) -> None:
    """Adds the source of an object, after that of everything it refers to, by name."""
    sources[name] = ""  # it may refer to itself
    source = _source_of(thing)
    known = _names_known_to(thing)
    del sources[name]
    for other in _globals_of(source):
        if other in known and other not in sources and other != name:
            _add(known[other], other, sources, user=name)
    sources[name] = source


def _add(value: Any, name: str, sources: dict[str, str], user: str) -> None:
    """Adds what defines `name`: an import, a source, or a literal."""
    if isinstance(value, ModuleType):
        sources[name] = f"import {value.__name__} as {name}\n"
    elif callable(value) and hasattr(value, "__qualname__") and (full := _dotted_name(value)):
        module, _, attribute = full.rpartition(".")
        sources[name] = f"from {module} import {attribute} as {name}\n"
    elif inspect.isfunction(value) or isinstance(value, type):
        _collect(value, value.__name__, sources)
        if name != value.__name__:
            sources[name] = f"{name} = {value.__name__}\n"
    elif _is_literal(value):
        sources[name] = f"{name} = {value!r}\n"
    else:
        raise SubmissionError(
            f"{user} uses {name}, a {type(value).__name__}, which cannot be written as source "
            "code; define it inside, or write a submission: see `chronograd new`"
        )


def _source_of(thing: Any) -> str:
    """Returns the source code of a function or class, also if a notebook defined it."""
    name = thing.__name__
    for code in (function.__code__ for function in _functions_of(thing)):
        lines = linecache.getlines(code.co_filename)
        for node in ast.walk(ast.parse("".join(lines))):
            kinds = (ast.ClassDef, ast.FunctionDef)
            if isinstance(node, kinds) and node.name == name and _holds(node, code):
                first = min(line.lineno for line in (node, *node.decorator_list))
                return textwrap.dedent("".join(lines[first - 1 : node.end_lineno]))
    if not _functions_of(thing):  # a class without methods of its own
        with suppress(OSError, TypeError):
            return textwrap.dedent(inspect.getsource(thing))
    raise SubmissionError(
        f"{name}: its source code cannot be found; define it with `def` or `class` in a file or a "
        "notebook"
    )


def _holds(node: ast.ClassDef | ast.FunctionDef, code: CodeType) -> bool:
    first = min(line.lineno for line in (node, *node.decorator_list))
    return first <= code.co_firstlineno <= (node.end_lineno or 0)


def _functions_of(thing: Any) -> list[FunctionType]:
    """Returns a function, or the functions of a class, without their decorators."""
    found = (inspect.unwrap(f) for f in (thing, *vars(thing).values()) if inspect.isfunction(f))
    return [function for function in found if isinstance(function, FunctionType)]


def _globals_of(source: str) -> Iterator[str]:
    """Yields the names that source code takes from outside, each once, in alphabetical order."""
    names: set[str] = set()
    tables = [symtable.symtable(_FUTURE + source, "<source>", "exec")]
    for table in tables:
        names |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and s.is_global()}
        tables.extend(table.get_children())
    yield from sorted(names)


def _names_known_to(thing: Any) -> dict[str, Any]:
    """Returns the globals and closed-over variables of a function, or of a class's functions."""
    functions = _functions_of(thing)
    known: dict[str, Any] = {}
    if not functions:  # a class without methods of its own
        known |= vars(sys.modules[thing.__module__])
    for function in functions:
        known |= function.__globals__
    for function in functions:
        known |= inspect.getclosurevars(function).nonlocals
    return {name: value for name, value in known.items() if not hasattr(builtins, name)}


def _is_literal(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
