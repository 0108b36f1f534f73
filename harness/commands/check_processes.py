"""Checks a submission in several processes that train together, for `check --processes N`."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.commands.check import findings
from harness.commands.finding import Finding, State
from harness.commands.rehearsal import MakeWorkloads
from harness.system import timers
from harness.trial.process_group import Rendezvous, join

GRACE = 5.0  # seconds that the other processes have to report, once one has ended early


def findings_of(
    processes: int,
    place: Path,
    make_workloads: MakeWorkloads,
    names: Sequence[str],
    point: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """Yields the findings of `commands.check.findings` in several processes on this machine.

    The processes use gloo. Each finding is the worst of all processes. If the trial of one process
    fails, the others would wait for it forever, so the check ends there.

    Args:
        processes: Number of processes.
        place: The submission, as returned by `loading.find`.
        make_workloads: Creates small workloads, the same ones at every call.
        names: Names of workloads that a submission may know.
        point: The submission's hyperparameters; None for the first point of its search space.
    """
    context = torch.multiprocessing.get_context("spawn")
    channel = context.Queue()
    rendezvous = Rendezvous.opened([""] * processes)
    workers = [
        context.Process(
            target=_check,
            args=(rank, rendezvous, channel, place, make_workloads, names, point),
            daemon=True,
        )
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    found: list[list[Finding]] = [[] for _ in workers]
    ended: set[int] = set()
    shown, deadline = 0, float("inf")
    try:
        while len(ended) < processes and timers.monotonic() < deadline:
            try:
                rank, finding = channel.get(timeout=0.2)
            except queue.Empty:
                dead = {r for r, worker in enumerate(workers) if not worker.is_alive()} - ended
                for rank in dead:
                    what = f"process {rank} died with exit code {workers[rank].exitcode}"
                    fix = "see its output"
                    found[rank].append(Finding("trains", str(place), State.PROBLEM, what, fix))
                ended |= dead
                if dead:
                    deadline = min(deadline, timers.monotonic() + GRACE)
                continue
            if finding is None:
                ended.add(rank)
                continue
            found[rank].append(finding)
            if not finding.passed:
                deadline = min(deadline, timers.monotonic() + GRACE)
            elif shown < min(map(len, found)):
                yield _worst([of_rank[shown] for of_rank in found])
                shown += 1
    finally:
        for worker in workers:
            worker.terminate()
    for same in itertools.zip_longest(*(of_rank[shown:] for of_rank in found)):
        yield _worst([finding for finding in same if finding is not None])


def _worst(same: Sequence[Finding]) -> Finding:
    """Returns the worst of several findings of one check: a violation, a need, or a remark."""
    return min(same, key=lambda finding: list(State).index(finding.state))


def _check(
    rank: int,
    rendezvous: Rendezvous,
    channel: Any,
    place: Path,
    make_workloads: MakeWorkloads,
    names: Sequence[str],
    point: Mapping[str, Any] | None,
) -> None:
    """Runs in each process: sends its findings, and None at the end."""
    group = join(rank, rendezvous, "cpu")
    for finding in findings(place, make_workloads, names, point, group):
        channel.put((rank, finding))
        if not finding.passed:  # the others may be waiting for this one
            break
    channel.put((rank, None))
    channel.close()
    channel.join_thread()
