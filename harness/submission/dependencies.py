"""What a submission's files import, read from their source."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

from harness.submission.files import files_of

_OWN = ("harness.spec", "submissions")  # what a submission may import of ours
_OURS = ("harness", "scoring", "workloads", "submissions")


def off_limits(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Imports of this project's code that is not for submissions: file, line and name."""
    for file, line, name in imports(folder):
        if name.split(".")[0] in _OURS and not name.startswith(_OWN):
            yield file, line, name


def imports(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """All imports: file, line and name."""
    for file, node in nodes(folder):
        for name in _imported(node):
            yield file, getattr(node, "lineno", 0), name


def nodes(folder: Path) -> Iterator[tuple[Path, ast.AST]]:
    """The syntax trees of a submission's files: file and node."""
    for file in files_of(folder):
        for node in _nodes(file):
            yield file, node


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
