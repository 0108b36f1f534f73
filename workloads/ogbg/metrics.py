"""ogbg's metric: mean average precision over the tasks.

Shapes: N examples, T tasks.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mean_average_precision(scores_nt: Tensor, labels_nt: Tensor, valid_nt: Tensor) -> float:
    """The mean of `average_precisions` over the tasks that have one; NaN where none has."""
    return torch.nanmean(average_precisions(scores_nt, labels_nt, valid_nt)).item()


def official_mean_average_precision(
    scores_nt: Tensor, labels_nt: Tensor, valid_nt: Tensor
) -> float:
    """The same mean as AlgoPerf computes it, which its targets belong to.

    There a missing label reads as 0 where a task is checked for having both classes. So a task that
    has positive labels, missing ones and no negative ones counts, with an average precision of 1.
    """
    precisions_t = average_precisions(scores_nt, labels_nt, valid_nt)
    valid_nt = valid_nt.bool()
    positive_nt = valid_nt & labels_nt.bool()
    none_is_negative_t = (valid_nt == positive_nt).all(0)
    only_positive_t = positive_nt.any(0) & none_is_negative_t & ~valid_nt.all(0)
    if not scores_nt.isnan().any():
        precisions_t = torch.where(only_positive_t, 1.0, precisions_t)
    return torch.nanmean(precisions_t).item()


def average_precisions(scores_nt: Tensor, labels_nt: Tensor, valid_nt: Tensor) -> Tensor:
    """The average precision of each task, sum over n of (R_n - R_(n-1)) P_n, as in scikit-learn.

    P_n and R_n are precision and recall at the n-th highest of the distinct scores: examples of
    equal score come in together. Examples without a label do not count.

    Args:
        scores_nt: Scores of the positive class.
        labels_nt: 1 for positive.
        valid_nt: Whether there is a label.

    Returns:
        [T], float64. NaN for a task without a positive or without a negative label, and all NaN
        where a score is not a number.
    """
    tasks, device = scores_nt.shape[1:], scores_nt.device
    undefined_t = torch.full(tasks, torch.nan, dtype=torch.float64, device=device)
    if len(scores_nt) == 0 or scores_nt.isnan().any():
        return undefined_t
    valid_nt = valid_nt.bool()
    order_nt = scores_nt.argsort(dim=0, descending=True)
    ranked_nt = scores_nt.gather(0, order_nt)
    seen_nt = valid_nt.gather(0, order_nt).cumsum(0, dtype=torch.float64)
    positive_nt = valid_nt & labels_nt.bool()
    found_nt = positive_nt.gather(0, order_nt).cumsum(0, dtype=torch.float64)
    is_last_nt = torch.ones_like(ranked_nt, dtype=torch.bool)  # of its score
    is_last_nt[:-1] = ranked_nt[:-1] != ranked_nt[1:]
    at_threshold_nt = torch.where(is_last_nt, found_nt, 0.0).cummax(0).values
    gained_nt = at_threshold_nt.diff(dim=0, prepend=torch.zeros_like(found_nt[:1]))
    summed_t = (gained_nt * found_nt / seen_nt.clamp(min=1)).sum(0)
    positives_t, examples_t = found_nt[-1], seen_nt[-1]
    is_defined_t = (positives_t > 0) & (positives_t < examples_t)
    return torch.where(is_defined_t, summed_t / positives_t, undefined_t)
