"""From sound to standardised log-mel features, as Lingvo and AlgoPerf make them.

Shapes: B utterances, S samples at 16 kHz, T frames of 10 ms, W = 400 samples of a frame, H = 257
frequencies, F = 80 mel bins. Paddings are 1 where the utterance is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.librispeech.normalisation import DEVIATIONS, MEANS

SAMPLE_RATE = 16_000
BINS = len(MEANS)
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms every 10 ms
FRAME = WINDOW + 1  # samples that a frame is made of: pre-emphasis takes one
_LOWEST, _HIGHEST = 125.0, 7600.0  # Hz
_PRE_EMPHASIS = 0.97
_FLOOR = 1e-5


class Preprocessor(nn.Module):
    """Log-mel features, standardised by LibriSpeech's mean and deviation of every bin."""

    _normalizer_mean: Tensor
    _normalizer_stddev: Tensor
    mel_weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_normalizer_mean", torch.tensor(MEANS)[None, None, :, None])
        self.register_buffer("_normalizer_stddev", torch.tensor(DEVIATIONS)[None, None, :, None])
        self.register_buffer("mel_weights", mel_weights(), persistent=False)
        self.stft = Spectrogram()

    def forward(self, audio_bs: Tensor, paddings_bs: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, F], and paddings [B, T]: 1 for each frame without sound.

        Args:
            audio_bs: Samples in the range of 16-bit integers.
            paddings_bs: The paddings of the samples.
        """
        frames = audio_bs.unfold(1, FRAME, HOP) * 2.0**-15  # [B, T, W + 1]
        # HTK's pre-emphasis: the first sample of a frame also replaces the one before it.
        first = frames[..., :1] * (1 - _PRE_EMPHASIS)
        rest = frames[..., 1:-1] - _PRE_EMPHASIS * frames[..., :-2]
        power_bth = self.stft(torch.cat([first, rest], dim=-1))
        mel_btf = (power_bth @ self.mel_weights).clamp(min=_FLOOR).log()
        mean, deviation = self._normalizer_mean[..., 0], self._normalizer_stddev[..., 0]
        return (mel_btf - mean) / deviation, paddings_bs.unfold(1, FRAME, HOP).amin(-1)


class Spectrogram(nn.Module):
    """The power of every frequency of windowed frames."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW)[None, None, :, None])

    def forward(self, frames_btw: Tensor) -> Tensor:
        """Frames [B, T, W] to power [B, T, H]."""
        spectrum_bth2 = torch.view_as_real(torch.fft.rfft(frames_btw * self.window[..., 0], FFT))
        return spectrum_bth2.square().sum(-1)


def mel_weights() -> Tensor:
    """HTK's triangular filters [H, F], evenly spaced in mel, 0 at frequency 0."""
    edges = torch.linspace(_mel(_LOWEST), _mel(_HIGHEST), BINS + 2, dtype=torch.float64)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    hertz = torch.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1, dtype=torch.float64)[1:, None]
    mel = 1127 * (1 + hertz / 700).log()
    rising, falling = (mel - lower) / (centre - lower), (upper - mel) / (upper - centre)
    weights = torch.minimum(rising, falling).clamp(min=0)
    return F.pad(weights, (0, 0, 1, 0)).float()


def _mel(hertz: float) -> float:
    return 1127 * math.log1p(hertz / 700)


@dataclass(frozen=True, kw_only=True, slots=True)
class Masks:
    """How much SpecAugment masks of an utterance."""

    of_frequency: int = 2
    bins: int = 27  # a frequency mask is narrower
    of_time: int = 10
    time_ratio: float = 0.05  # the part of the utterance that a time mask has at most


ALGOPERF_MASKS = Masks()


class SpecAugment(nn.Module):
    """Masks random bins and frames of features in training (Park et al. 2019)."""

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self._masks = masks

    def forward(self, x_btf: Tensor, paddings_bt: Tensor) -> Tensor:
        """Features [B, T, F] with 0 where they are masked."""
        if not self.training:
            return x_btf
        masks, lengths_b = self._masks, (1 - paddings_bt).sum(1)
        all_bins_b = torch.full_like(lengths_b, x_btf.shape[2])
        widest_b = torch.full_like(lengths_b, masks.bins)
        is_masked_bf = _masked(all_bins_b, widest_b, masks.of_frequency, x_btf.shape[2])
        widest_b = lengths_b * masks.time_ratio
        is_masked_bt = _masked(lengths_b, widest_b, masks.of_time, x_btf.shape[1])
        return x_btf.masked_fill(is_masked_bf[:, None, :] | is_masked_bt[:, :, None], 0.0)


def _masked(lengths_b: Tensor, widest_b: Tensor, count: int, size: int) -> Tensor:
    """What is masked [B, size] by `count` masks of width below `widest` within `lengths`."""
    draws = torch.rand(2, len(lengths_b), count, 1, device=lengths_b.device)
    widths = (widest_b[:, None, None] * draws[0]).floor()  # [B, count, 1]
    starts = ((lengths_b[:, None, None] - widths + 1) * draws[1]).floor()
    place = torch.arange(size, device=lengths_b.device)
    return ((place >= starts) & (place < starts + widths)).any(1)
