"""The result of a check of a submission, of a machine or of data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from scoring.records import TrialResult

_CUDA = re.compile(r"\bcuda\b|\bnccl\b|NVIDIA", re.IGNORECASE)
_GROUP = re.compile(r"process group|init_process_group|\b(LOCAL_)?RANK\b|WORLD_SIZE", re.IGNORECASE)


class State(StrEnum):
    """The state of a finding, the worst first."""

    PROBLEM = "problem"
    UNDECIDED = "undecided"
    WARNING = "warning"
    OK = "ok"

    @property
    def passed(self) -> bool | None:
        """Whether trials can run and the contract is kept; None if undecided."""
        return None if self is State.UNDECIDED else self is not State.PROBLEM


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Name of the check.
        where: The workload, file, disk or node; "" if the check has only one subject.
        state: `PROBLEM` if a submission violates the contract or trials cannot run, `UNDECIDED` if
            it cannot be decided on this machine or with these options, `WARNING` for a remark on
            something that is allowed.
        what: What was found; "" if nothing but that the check passed.
        fix: What to do about it; "" if nothing.
    """

    check: str
    where: str
    state: State
    what: str = ""
    fix: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether trials can run and the contract is kept; None if undecided."""
        return self.state.passed


def remark(check: str, where: str, what: str) -> Finding:
    """Returns a check that passed, with a remark if `what` is not empty."""
    return Finding(check, where, State.WARNING if what else State.OK, what)


def worst(findings: Iterable[Finding]) -> State:
    """Returns the worst state of several findings; `OK` of none."""
    states = {finding.state for finding in findings}
    return next((state for state in State if state in states), State.OK)


def grouped(found: Iterable[Finding]) -> Iterator[Finding]:
    """Yields findings of one check on several workloads; equal failures become one."""
    failures: dict[Finding, list[Finding]] = {}
    for finding in found:
        if finding.passed:
            yield finding
        else:
            failures.setdefault(replace(finding, where="", fix=""), []).append(finding)
    for same in failures.values():
        yield replace(same[0], where=", ".join(finding.where for finding in same))


def unmet_need(check: str, where: str, text: str, processes: int) -> Finding | None:
    """Returns an undecided finding if an error is due to missing CUDA or processes; else None.

    Args:
        check: Name of the check.
        where: The workload, or the file.
        text: The traceback of the error; only its end is searched.
        processes: Number of processes that train together.
    """
    import torch

    end = "\n".join(text.strip().split("\n")[-4:])
    if not torch.cuda.is_available() and _CUDA.search(end):
        need, fix = "needs CUDA", "check it on a machine with a GPU"
    elif processes == 1 and _GROUP.search(end):
        need, fix = "needs several processes", "check it with --processes 2"
    else:
        return None
    return Finding(check, where, State.UNDECIDED, need, fix)


def violation(check: str, where: str, result: TrialResult, *, has_point: bool) -> Finding:
    """Returns the finding for a trial that failed through the submission's fault.

    Args:
        check: Name of the check.
        where: The workload.
        result: The result of the trial.
        has_point: Whether the submission gets hyperparameters.
    """
    if "off limits" in result.message or "read-only" in result.message:
        fix = "use only what the message lists"
        return Finding("off limits", where, State.PROBLEM, result.message, fix)
    end = " | ".join(line.strip() for line in result.traceback.split("\n")[-4:-1])
    fix = f"look at the traceback's end: {end}"
    if not has_point and "'NoneType' object has no attribute" in result.message:
        fix = (
            "hyperparameters is None, as the submission has no tuning_search_space.json: add one, "
            "or give --hparams"
        )
    what = f"step {result.global_step}: {result.message}"
    return Finding(check, where, State.PROBLEM, what, fix)
