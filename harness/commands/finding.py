"""What a check of a submission found: kept, broken, or undecided on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

_CUDA = re.compile(r"\bcuda\b|\bnccl\b|NVIDIA", re.IGNORECASE)
_GROUP = re.compile(r"process group|init_process_group|\b(LOCAL_)?RANK\b|WORLD_SIZE", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: Its name.
        where: The workload, or the file.
        passed: Whether the contract is kept; None where this machine or call cannot tell.
        what: What broke, or is worth knowing; "" if nothing.
        mend: How to fix it; "" if there is nothing to fix.
    """

    check: str
    where: str
    passed: bool | None
    what: str = ""
    mend: str = ""


def unmet_need(check: str, where: str, text: str, processes: int) -> Finding | None:
    """A finding where an error came of what this machine or call lacks; else None.

    Args:
        check: As in Finding, and so is `where`.
        where: The workload, or the file.
        text: The traceback; its end, with the line that failed, decides.
        processes: How many train together.
    """
    end = "\n".join(text.strip().split("\n")[-4:])
    if not torch.cuda.is_available() and _CUDA.search(end):
        return Finding(check, where, None, "needs CUDA", "check it on a machine with a GPU")
    if processes == 1 and _GROUP.search(end):
        return Finding(check, where, None, "needs several processes", "check it with --processes 2")
    return None
