"""Losses as sums over a batch and for each example, by torch's own kernels."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import LossType

ELEMENTWISE: dict[LossType, Callable[..., Tensor]] = {
    LossType.SIGMOID_CROSS_ENTROPY: F.binary_cross_entropy_with_logits,
    LossType.MEAN_SQUARED_ERROR: F.mse_loss,
    LossType.MEAN_ABSOLUTE_ERROR: F.l1_loss,
}


def cross_entropy(
    labels: Tensor, logits: Tensor, label_smoothing: float = 0.0, ignored: int = -100
) -> tuple[Tensor, Tensor]:
    """The sum [] and the rows [N] of `F.cross_entropy`, bit for bit, from one log-softmax.

    Args:
        labels: [N] classes, or [N, classes] their weights.
        logits: [N, classes].
        label_smoothing: In [0, 1]: this much of a row's weight goes to all classes alike.
        ignored: The class whose rows do not count, where labels are classes.
    """
    logs, classes = logits.log_softmax(1), logits.shape[1]
    if labels.is_floating_point():
        if label_smoothing:
            labels = labels * (1 - label_smoothing) + label_smoothing / classes
        products = logs * labels
        return -products.sum(), -products.sum(1)
    summed = F.nll_loss(logs, labels, ignore_index=ignored, reduction="sum")
    rows = F.nll_loss(logs, labels, ignore_index=ignored, reduction="none")
    if not label_smoothing:
        return summed, rows
    of_all = (-logs.sum(1)).masked_fill(labels == ignored, 0.0)
    kept, share = 1 - label_smoothing, label_smoothing / classes
    return kept * summed + share * of_all.sum(), kept * rows + share * of_all
