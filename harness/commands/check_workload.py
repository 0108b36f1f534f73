"""Checks a workload against the contract, with the tests that are published for authors."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import workloads
from harness.commands.finding import Finding, State
from harness.submission.files import FILE
from harness.submission.source import place_of
from harness.system.signals import interrupted
from scoring.escaping import error_message

_FIX = "see harness/testing/workload.py, and the docstrings of harness.spec.Workload"


def is_workload(place: str) -> bool:
    """Whether a path is the folder of a workload, and not that of a submission."""
    folder = Path(place)
    if folder.name == workloads.FILE:
        return folder.is_file()
    return (folder / workloads.FILE).is_file() and not (folder / FILE).is_file()


def workload_findings(name: str) -> Iterator[Finding]:
    """Yields the result of every test of the contract, each on a new workload of this name.

    If the workload cannot be made or its data cannot be read, that is the only finding.
    """
    from harness.testing.workload import WorkloadContract

    yield (first := _finding("it can be made", name, lambda workload: workload.check_data()))
    if first.passed:
        for test in (name for name in vars(WorkloadContract) if name.startswith("test_")):
            check = test.removeprefix("test_").replace("_", " ")
            yield _finding(check, name, getattr(WorkloadContract(), test))


def _finding(check: str, name: str, test: Any) -> Finding:
    patches = _Patches()
    try:
        fixtures: dict[str, Any] = {"workload": workloads.get(name), "monkeypatch": patches}
        test(**{fixture: fixtures[fixture] for fixture in inspect.signature(test).parameters})
    except BaseException as error:
        if interrupted():
            raise
        return _failure(check, name, error)
    finally:
        patches.undo()
    return Finding(check, name, State.OK)


def _failure(check: str, name: str, error: BaseException) -> Finding:
    """Returns the finding of a failed test: its error, or the condition that does not hold."""
    folder = workloads.own_folder(name) or Path.cwd()
    message = error_message(error, place_of(error, folder))
    if isinstance(error, AssertionError) and not str(error):
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = f"does not hold: {(last.line or '').removeprefix('assert ')}"
    return Finding(check, name, State.PROBLEM, message, _FIX)


class _Patches:
    """The part of pytest's `monkeypatch` that the contract uses."""

    def __init__(self) -> None:
        self._patches: list[Any] = []

    def setattr(self, target: Any, name: str, value: Any) -> None:
        """Replaces an attribute until `undo`."""
        self._patches.append(patch.object(target, name, value))
        self._patches[-1].start()

    def undo(self) -> None:
        """Restores all attributes."""
        while self._patches:
            self._patches.pop().stop()
