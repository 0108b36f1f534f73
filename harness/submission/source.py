"""Python source files: syntax nodes, imported names, and where an exception arose."""

from __future__ import annotations

import ast
import tokenize
import traceback
from collections.abc import Iterator
from pathlib import Path

from scoring.escaping import one_line

MOST_CHARACTERS = 200  # of a place


def nodes_of(file: Path) -> Iterator[ast.AST]:
    """Yields the syntax nodes of a source file; none if Python 3 cannot parse it."""
    if file.suffix != ".py":
        return
    try:
        with tokenize.open(file) as source:  # handles byte order marks and declared encodings
            yield from ast.walk(ast.parse(source.read()))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return


def imported(node: ast.AST) -> list[str]:
    """Returns the full names that a syntax node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def place_of(error: BaseException, folder: Path) -> str:
    """Returns where in the files of a folder an exception arose: "submission.py:25 in step".

    It is the innermost call in these files, or the line of a syntax error. If there is none, that
    of the exception's cause; "" if there is none either.
    """
    try:
        return one_line(_innermost(error, folder))[:MOST_CHARACTERS]
    except BaseException:  # noqa: BLE001 - the exception may have any attributes
        return ""


def _innermost(error: BaseException, folder: Path) -> str:
    """Returns the place of the innermost call in the files of a folder."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        place = ""
        for frame, line in traceback.walk_tb(current.__traceback__):
            if file := _relative(frame.f_code.co_filename, folder):
                place = f"{file}:{line} in {frame.f_code.co_name}"
        if isinstance(current, SyntaxError) and (file := _relative(current.filename, folder)):
            place = f"{file}:{current.lineno}"
        if place:
            return place
        context = None if current.__suppress_context__ else current.__context__
        current = current.__cause__ or context
    return ""


def _relative(file: str | None, folder: Path) -> str:
    """Returns the path of a file relative to the folder; "" if it is not in the folder."""
    path = Path(file or "")
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else ""
