"""Checks a submission in processes of its own, so that it cannot end or change the command.

With `check --processes N`, they train together.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.commands.check import findings
from harness.commands.dotted import packages_read_once
from harness.commands.finding import Finding, State
from harness.commands.rehearsal import MakeWorkloads
from harness.system import timers
from harness.system.children import Child
from harness.trial.process_group import Rendezvous, join

TURN_SECONDS = 0.1  # for a finding of one process, before the next is asked
GRACE = 5.0  # seconds that the other processes have to report, once one has ended early


def findings_of(
    processes: int,
    place: Path,
    make_workloads: MakeWorkloads,
    names: Sequence[str],
    point: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """Yields the findings of `commands.check.findings` in other processes on this machine.

    Several processes use gloo. Each finding is the worst of all processes. If the trial of one
    process fails, the others would wait for it forever, so the check ends there.

    Args:
        processes: Number of processes.
        place: The submission, as returned by `loading.find`.
        make_workloads: Creates small workloads, the same ones at every call.
        names: Names of workloads that a submission may know.
        point: The submission's hyperparameters; None for the first point of its search space.
    """
    rendezvous = Rendezvous.opened([""] * processes) if processes > 1 else None
    arguments = (rendezvous, place, make_workloads, names, point)
    children = [Child(_check, rank, *arguments) for rank in range(processes)]
    found: list[list[Finding]] = [[] for _ in children]
    running = set(range(processes))
    shown, deadline = 0, float("inf")
    try:
        while running and timers.monotonic() < deadline:
            for rank in sorted(running):
                try:
                    finding: Finding | None = children[rank].receive(TURN_SECONDS)
                except TimeoutError:
                    continue
                except EOFError:
                    finding = _died(children[rank], place, rank, processes)
                    running.remove(rank)
                if finding is None:
                    running.remove(rank)
                    continue
                found[rank].append(finding)
                if not finding.passed and processes > 1:
                    deadline = min(deadline, timers.monotonic() + GRACE)
            while shown < min(map(len, found)):
                yield _worst([of_rank[shown] for of_rank in found])
                shown += 1
    finally:
        for child in children:
            child.close()
    for same in itertools.zip_longest(*(of_rank[shown:] for of_rank in found)):
        yield _worst([finding for finding in same if finding is not None])


def _died(worker: Child, place: Path, rank: int, processes: int) -> Finding:
    """Returns the finding for a process that has ended early."""
    what = worker.ending() + f" (process {rank})" * (processes > 1)
    fix = "find out what ends the process: see its output"
    return Finding("trains", str(place), State.PROBLEM, what, fix)


def _worst(same: Sequence[Finding]) -> Finding:
    """Returns the worst of several findings of one check: a violation, a need, or a remark."""
    return min(same, key=lambda finding: list(State).index(finding.state))


def _check(
    connection: Connection,
    rank: int,
    rendezvous: Rendezvous | None,
    place: Path,
    make_workloads: MakeWorkloads,
    names: Sequence[str],
    point: Mapping[str, Any] | None,
) -> None:
    """Runs in each process: sends its findings, and None at the end; prints to stderr only."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    group = join(rank, rendezvous, "cpu")
    with packages_read_once():
        for finding in findings(place, make_workloads, names, point, group):
            connection.send(finding)
            if not finding.passed and group.size > 1:  # the others may be waiting for this one
                break
    connection.send(None)
