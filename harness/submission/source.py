"""Python source files as syntax nodes, and the names that they import."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path


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
