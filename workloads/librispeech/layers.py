"""What both acoustic models of librispeech are made of: norms and subsampling.

Scales of norms are stored as what they differ from 1 by, and start at 0.
Shapes: B utterances, T frames, F mel bins, D width, C channels. Paddings are 1 where the utterance
is over.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.distributed import world

STRIDE = 2  # of each of the two convolutions that subsample


class LayerNorm(nn.Module):
    """Layer norm over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_btd: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        return F.layer_norm(x_btd, x_btd.shape[-1:], 1 + self.scale, self.bias, eps=1e-6)


class MaskedBatchNorm(nn.Module):
    """Batch norm over the frames that are not padding.

    The running variance is the batch's own, without the correction that torch's batch norm makes.

    Args:
        width: The number of features.
        momentum: The weight of the batch's statistics in the running ones.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, momentum: float) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.momentum = momentum

    @abc.abstractmethod
    def affine(self) -> tuple[Tensor, Tensor]:
        """The scale and the bias [D], however they are named."""

    def reduced(self, sums: Tensor) -> Tensor:
        """Sums over the batch; a norm with synchronised statistics adds those of all processes."""
        return sums

    def forward(self, x_btd: Tensor, paddings_bt: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D], 0 where there is padding."""
        mask_bt1 = (1 - paddings_bt)[:, :, None]
        mean_d, variance_d = self.running_mean, self.running_var
        if self.training:
            sums = torch.cat([(x_btd * mask_bt1).sum((0, 1)), mask_bt1.sum()[None]])
            sums = self.reduced(sums)
            count = sums[-1]
            mean_d = sums[:-1] / count
            squares_d = ((x_btd - mean_d).square() * mask_bt1).sum((0, 1))
            variance_d = self.reduced(squares_d) / count
            with torch.no_grad():
                self.running_mean.lerp_(mean_d, self.momentum)
                self.running_var.lerp_(variance_d, self.momentum)
        scale_d, bias_d = self.affine()
        return ((x_btd - mean_d) * (scale_d * torch.rsqrt(variance_d + 1e-3)) + bias_d) * mask_bt1


@contextmanager
def averaged_statistics(model: nn.Module) -> Iterator[None]:
    """Running statistics are those of all processes, on average, and then again each one's own."""
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    before = [buffer.clone() for buffer in buffers]
    _, processes = world()
    if processes > 1:
        for buffer in buffers:
            distributed.all_reduce(buffer)
            buffer /= processes
    try:
        yield
    finally:
        for buffer, old in zip(buffers, before, strict=True):
            buffer.copy_(old)


class Conv2dSubsampling(nn.Module):
    """A 3x3 convolution of stride 2 and its activation, which leaves 0 as it is."""

    def __init__(
        self, channels_in: int, channels_out: int, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self._activation = activation
        self.kernel = nn.Parameter(torch.empty(channels_out, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        nn.init.xavier_uniform_(self.kernel)

    def forward(self, x_bctf: Tensor, paddings_bt: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T, F] to [B, C', T / 2, F / 2], and paddings [B, T] to [B, T / 2], rounded up."""
        (left, right), (top, bottom) = map(_same_padding, (x_bctf.shape[3], x_bctf.shape[2]))
        padded_bctf = F.pad(x_bctf, (left, right, top, bottom))
        x_bctf = F.conv2d(padded_bctf, self.kernel, self.bias, stride=STRIDE)
        paddings_bt = paddings_bt[:, ::STRIDE]
        x_bctf *= (1 - paddings_bt)[:, None, :, None]  # in place: 20 GB of a batch at full size
        return self._activation(x_bctf), paddings_bt


def _same_padding(size: int) -> tuple[int, int]:
    """Zeros before and after, as TensorFlow's SAME for a kernel of 3 and a stride of 2."""
    return (0, 1) if size % STRIDE == 0 else (1, 1)


def subsampled_bins(bins: int) -> int:
    """How many of the mel bins two subsampling convolutions leave."""
    return -(-bins // STRIDE**2)


def flattened(x_bctf: Tensor) -> Tensor:
    """[B, C, T, F] to [B, T, F * C]."""
    return x_bctf.permute(0, 2, 3, 1).flatten(2)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with Xavier's uniform weights, biases 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
