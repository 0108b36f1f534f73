"""ogbg's metric: mean average precision over the tasks."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_average_precision(scores: Tensor, labels: Tensor, valid: Tensor) -> float:
    """The mean of `average_precisions` over the tasks that have one; NaN where none has."""
    return torch.nanmean(average_precisions(scores, labels, valid)).item()


def official_mean_average_precision(scores: Tensor, labels: Tensor, valid: Tensor) -> float:
    """The same mean as AlgoPerf computes it, which its targets belong to.

    There a missing label reads as 0 where a task is checked for having both classes. So a task that
    has positive labels, missing ones and no negative ones counts, with an average precision of 1.
    """
    precisions = average_precisions(scores, labels, valid)
    valid = valid.bool()
    positive = valid & labels.bool()
    only_positive = positive.any(0) & (valid == positive).all(0) & ~valid.all(0)
    if not scores.isnan().any():
        precisions = torch.where(only_positive, 1.0, precisions)
    return torch.nanmean(precisions).item()


def average_precisions(scores: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """The average precision of each task, sum over n of (R_n - R_(n-1)) P_n, as in scikit-learn.

    P_n and R_n are precision and recall at the n-th highest of the distinct scores: examples of
    equal score come in together. Examples without a label do not count.

    Args:
        scores: [N, T], of the positive class.
        labels: [N, T], 1 for positive.
        valid: [N, T], whether there is a label.

    Returns:
        [T], float64. NaN for a task without a positive or without a negative label, and all NaN
        where a score is not a number.
    """
    undefined = torch.full(scores.shape[1:], torch.nan, dtype=torch.float64, device=scores.device)
    if len(scores) == 0 or scores.isnan().any():
        return undefined
    valid = valid.bool()
    order = scores.argsort(dim=0, descending=True)
    ranked = scores.gather(0, order)
    seen = valid.gather(0, order).cumsum(0, dtype=torch.float64)
    found = (valid & labels.bool()).gather(0, order).cumsum(0, dtype=torch.float64)
    threshold = torch.ones_like(ranked, dtype=torch.bool)  # whether it is the last of its score
    threshold[:-1] = ranked[:-1] != ranked[1:]
    at_threshold = torch.where(threshold, found, 0.0).cummax(0).values
    gained = at_threshold.diff(dim=0, prepend=torch.zeros_like(found[:1]))
    summed = (gained * found / seen.clamp(min=1)).sum(0)
    positives, examples = found[-1], seen[-1]
    return torch.where((positives > 0) & (positives < examples), summed / positives, undefined)
