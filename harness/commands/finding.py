"""The result of a check of a submission, of a machine or of data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

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
