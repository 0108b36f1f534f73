"""What a submission's files import, read from their source."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

from harness.code import files_of

_OWN = ("harness.spec", "submissions")  # what a submission may import of ours
_OURS = ("harness", "scoring", "workloads", "submissions")


def off_limits(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Imports of this project's code that is not for submissions: file, line and name."""
    for file in files_of(folder):
        for node in _nodes(file):
            for name in _imported(node):
                if name.split(".")[0] in _OURS and not name.startswith(_OWN):
                    yield file, getattr(node, "lineno", 0), name


def _nodes(file: Path) -> Iterator[ast.AST]:
    """The syntax tree of a source file; nothing of a file that Python 3 could not import."""
    if file.suffix != ".py":
        return
    try:
        with tokenize.open(file) as source:  # byte order marks and declared encodings
            yield from ast.walk(ast.parse(source.read()))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []
