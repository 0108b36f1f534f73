"""Reads from the source of a submission's files what they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from harness.submission.files import files_of
from harness.submission.source import imported, nodes_of

_ALLOWED = ("harness.spec", "submissions")  # what a submission may import of this project
_OURS = ("harness", "scoring", "workloads", "submissions")


def off_limits(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Yields imports of this project's internal code: file, line and name."""
    for file, line, name in imports(folder):
        if name.split(".")[0] in _OURS and not name.startswith(_ALLOWED):
            yield file, line, name


def imports(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Yields all imports: file, line and name."""
    for file, node in nodes(folder):
        for name in imported(node):
            yield file, getattr(node, "lineno", 0), name


def nodes(folder: Path) -> Iterator[tuple[Path, ast.AST]]:
    """Yields the syntax nodes of a submission's files: file and node."""
    for file in files_of(folder):
        for node in nodes_of(file):
            yield file, node
