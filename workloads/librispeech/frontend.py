"""From sound to standardised log-mel features, as Lingvo and AlgoPerf make them.

Shapes: B utterances, S samples at 16 kHz, T frames of 10 ms, 80 mel bins.
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

    def forward(self, audio: Tensor, paddings: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, 80], and 1 [B, T] for each frame that no sound is in.

        Args:
            audio: Samples [B, S] in the range of 16-bit integers.
            paddings: [B, S], 1 where the utterance is over.
        """
        frames = audio.unfold(1, FRAME, HOP) * 2.0**-15
        # HTK's pre-emphasis: the first sample of a frame stands for the one before it.
        first = frames[..., :1] * (1 - _PRE_EMPHASIS)
        rest = frames[..., 1:-1] - _PRE_EMPHASIS * frames[..., :-2]
        power = self.stft(torch.cat([first, rest], dim=-1))
        mel = (power @ self.mel_weights).clamp(min=_FLOOR).log()
        mean, deviation = self._normalizer_mean[..., 0], self._normalizer_stddev[..., 0]
        return (mel - mean) / deviation, paddings.unfold(1, FRAME, HOP).amin(-1)


class Spectrogram(nn.Module):
    """The power [B, T, 257] of every frequency of windowed frames [B, T, 400]."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW)[None, None, :, None])

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 400] to power [B, T, 257]."""
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window[..., 0], FFT))
        return spectrum.square().sum(-1)


def mel_weights() -> Tensor:
    """HTK's triangular filters [257, 80], evenly spaced in mel, 0 at frequency 0."""
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

    def forward(self, features: Tensor, paddings: Tensor) -> Tensor:
        """Features [B, T, F] with 0 where they are masked; paddings [B, T]."""
        if not self.training:
            return features
        masks, lengths = self._masks, (1 - paddings).sum(1)
        all_bins = torch.full_like(lengths, features.shape[2])
        widest = torch.full_like(lengths, masks.bins)
        bins = _masked(all_bins, widest, masks.of_frequency, features.shape[2])
        frames = _masked(lengths, lengths * masks.time_ratio, masks.of_time, features.shape[1])
        return features.masked_fill(bins[:, None, :] | frames[:, :, None], 0.0)


def _masked(lengths: Tensor, widest: Tensor, count: int, size: int) -> Tensor:
    """What is masked [B, size] by `count` masks of width below `widest` within `lengths` [B]."""
    draws = torch.rand(2, len(lengths), count, 1, device=lengths.device)
    widths = (widest[:, None, None] * draws[0]).floor()
    starts = ((lengths[:, None, None] - widths + 1) * draws[1]).floor()
    place = torch.arange(size, device=lengths.device)
    return ((place >= starts) & (place < starts + widths)).any(1)
