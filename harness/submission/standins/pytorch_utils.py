"""`algoperf.pytorch_utils`: the role of this process in data-parallel training."""

from __future__ import annotations

import os

import torch


def pytorch_setup() -> tuple[bool, int, torch.device, int]:
    """Returns whether processes train together, this one's rank, its device, and its GPU count.

    Submissions call it when they are imported. As in AlgoPerf, all of it follows from LOCAL_RANK,
    which is set in each of several processes before the submission is imported.
    """
    local_rank = os.environ.get("LOCAL_RANK")
    rank = int(local_rank or 0)
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    return local_rank is not None, rank, device, torch.cuda.device_count()
