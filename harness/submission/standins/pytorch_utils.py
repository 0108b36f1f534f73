"""`algoperf.pytorch_utils`: how this process takes part in data-parallel training."""

from __future__ import annotations

import os

import torch


def pytorch_setup() -> tuple[bool, int, torch.device, int]:
    """Whether processes train together, this one's rank, its device, and the GPUs it sees.

    Submissions call it when they are imported. LOCAL_RANK says it all, as in AlgoPerf: whoever
    starts several processes sets it before the submission is imported.
    """
    local_rank = os.environ.get("LOCAL_RANK")
    rank = int(local_rank or 0)
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    return local_rank is not None, rank, device, torch.cuda.device_count()
