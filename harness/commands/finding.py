"""The result of a check of a submission: passed, failed, or undecided on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

_CUDA = re.compile(r"\bcuda\b|\bnccl\b|NVIDIA", re.IGNORECASE)
_GROUP = re.compile(r"process group|init_process_group|\b(LOCAL_)?RANK\b|WORLD_SIZE", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Name of the check.
        where: The workload, or the file.
        passed: Whether the contract is kept; None if it cannot be decided on this machine or with
            these options.
        what: What is wrong, or a note; "" if nothing.
        fix: How to fix it; "" if there is nothing to fix.
    """

    check: str
    where: str
    passed: bool | None
    what: str = ""
    fix: str = ""


def unmet_need(check: str, where: str, text: str, processes: int) -> Finding | None:
    """Returns an undecided finding if an error is due to missing CUDA or processes; else None.

    Args:
        check: Name of the check.
        where: The workload, or the file.
        text: The traceback of the error; only its end is searched.
        processes: Number of processes that train together.
    """
    end = "\n".join(text.strip().split("\n")[-4:])
    if not torch.cuda.is_available() and _CUDA.search(end):
        return Finding(check, where, None, "needs CUDA", "check it on a machine with a GPU")
    if processes == 1 and _GROUP.search(end):
        return Finding(check, where, None, "needs several processes", "check it with --processes 2")
    return None
