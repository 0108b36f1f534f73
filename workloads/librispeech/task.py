"""Recognising speech: the loss, batches and evaluation of librispeech and of its minis.

Shapes: B utterances, S samples, T frames, L tokens of a transcript, V tokens of the vocabulary.
Paddings are 1 where the utterance or the transcript is over.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import (
    Batch,
    LossType,
    ModelAuxiliaryState,
    ParameterContainer,
    ParameterType,
    RandomState,
    Tensor,
)
from workloads.batching import epochs, seed_of
from workloads.distributed import own_part, summed, world
from workloads.librispeech import evaluation
from workloads.librispeech.conformer import Conformer, ConformerConfig
from workloads.librispeech.data import Preparation, Utterances
from workloads.librispeech.deepspeech import DeepSpeech, DeepSpeechConfig
from workloads.librispeech.layers import averaged_statistics
from workloads.modes import eval_mode
from workloads.parts import Part
from workloads.prefetch import on_device, read_ahead
from workloads.prepared import PreparedWorkload
from workloads.vocabulary import UNKNOWN as BLANK
from workloads.vocabulary import Vocabulary

Padded = tuple[Tensor, Tensor]  # values, and 1 where there are none


class SpeechWorkload(PreparedWorkload):
    """Trains an acoustic model with CTC; the word error rate of greedy decoding is the metric.

    Inputs, targets and logits are pairs of a tensor and its paddings: samples [B, S], tokens
    [B, L], logits [B, T, V]. Label smoothing is ignored, as
    in AlgoPerf. Dropout and SpecAugment draw from torch's default generator.

    Attributes:
        config: The model's; its type decides which one.
        max_samples: The most samples of an utterance, at 16 kHz.
        max_tokens: The most tokens of a transcript, EOS counted.
    """

    loss_type = LossType.CTC_LOSS
    target_metric_name = "wer"
    target_direction = "min"
    config: ConformerConfig | DeepSpeechConfig
    max_samples: int
    max_tokens: int

    def build_model(self) -> nn.Module:
        """The acoustic model, initialised from torch's default generator."""
        if isinstance(self.config, ConformerConfig):
            return Conformer(self.config)
        return DeepSpeech(self.config)

    @abc.abstractmethod
    def preparation(self) -> Preparation:
        """What makes samples and tokens of the recordings; raises DataError."""

    def parts(self) -> list[Part]:
        """The vocabulary, then samples and tokens of the recordings; raises DataError."""
        return self.preparation().parts()

    def load(self) -> dict[str, Utterances]:
        """The utterances of every split; raises DataError."""
        return {
            split: Utterances(
                [self.read(name) for name in self.preparation().names(split)],
                self.max_samples,
                f"{split} of {self.folder}",
            )
            for split in self.sizes
        }

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type, as AlgoPerf's rules have it, which go by the name."""
        return {name: _type_by_name(name) for name in super().model_params_types}

    def forward(  # type: ignore[override]
        self, model: nn.Module, batch: Batch, dropout_rate: float | None
    ) -> Padded:
        """Logits [B, T, V] and their paddings [B, T]."""
        rates = (dropout_rate, self.aux_dropout_rate)
        logits: Padded = model(*batch["inputs"], *rates)
        return logits

    def loss_fn(  # type: ignore[override]
        self,
        label_batch: Padded,
        logits_batch: Padded,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """CTC's loss (Graves et al. 2006) of every utterance, not divided by its length.

        A transcript too long for its frames has an infinite loss, as in AlgoPerf.

        Args:
            label_batch: Tokens [B, L] and their paddings [B, L].
            logits_batch: Logits [B, T, V] and their paddings [B, T].
            mask_batch: [B]; an utterance where it is 0 does not count.
            label_smoothing: Ignored.

        Returns:
            The sum [] over utterances, what it is divided by for the mean [], and the loss [B] of
            each utterance. As in AlgoPerf the divisor depends on the mask: without one, as in
            training, it is the number of target tokens, with one the number of utterances kept
            that have a transcript; at least 1 in either case.
        """
        (labels_bl, label_paddings_bl), (logits_btv, paddings_bt) = label_batch, logits_batch
        lengths_b = (1 - label_paddings_bl).sum(1).long()
        losses_b = F.ctc_loss(
            logits_btv.float().log_softmax(-1).transpose(0, 1),
            labels_bl.long(),
            (1 - paddings_bt).sum(1).long(),
            lengths_b,
            blank=BLANK,
            reduction="none",
        )
        counts_b = lengths_b
        if mask_batch is not None:
            losses_b = losses_b * mask_batch
            counts_b = (lengths_b > 0) & (mask_batch != 0)
        return {
            "summed": losses_b.sum(),
            "n_valid_examples": counts_b.sum().clamp(min=1),
            "per_example": losses_b,
        }

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The prepared vocabulary; raises DataError."""
        return self.preparation().vocabulary()

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over batches; batch i is a pure function of (rng, i)."""
        utterances: Utterances = self.examples[split]
        own = own_part(global_batch_size)
        seed = seed_of(rng)

        def batches() -> Iterator[Batch]:
            for epoch, begins in epochs(len(utterances), global_batch_size, start):
                order = np.random.default_rng([seed, epoch]).permutation(len(utterances))
                for begin in begins:
                    yield self._batch(utterances, order[begin:][own])

        return read_ahead(batches(), self.read_ahead, self.device)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """Word error rates and loss of a split, every utterance once.

        "wer" counts words as AlgoPerf does, see `evaluation.tensorflow_text`; "wer_plain" is the
        usual one. "ctc_loss" is the mean over target tokens.
        """
        utterances: Utterances = self.examples[split]
        size = self.eval_batch_size
        rank, processes = world()
        mine = np.arange(rank, self.eval_count(split, len(utterances)), processes)
        heard: list[list[int]] = []
        said: list[list[int]] = []
        losses = {"loss": 0.0, "tokens": 0.0}
        with averaged_statistics(params), eval_mode(params):
            for start in range(0, len(mine), size):
                batch = self._batch(utterances, mine[start : start + size])
                logits_btv, paddings_bt = params(*batch["inputs"])
                loss = self.loss_fn(batch["targets"], (logits_btv, paddings_bt))
                losses["loss"] += loss["per_example"].double().sum().item()
                heard += evaluation.greedy(logits_btv, paddings_bt)
                tokens_bl, token_paddings_bl = batch["targets"]
                lengths = (1 - token_paddings_bl).sum(1).long().tolist()
                losses["tokens"] += sum(lengths)
                said += [t[:n] for t, n in zip(tokens_bl.long().tolist(), lengths, strict=True)]
        heard_texts, said_texts = map(self.vocabulary.decode, (heard, said))
        sums = evaluation.sums(heard_texts, said_texts, losses)
        return evaluation.metrics(summed(sums, self.device))

    def _batch(self, utterances: Utterances, numbers: np.ndarray) -> dict[str, Any]:
        """Inputs and targets on the device, made float there."""
        rows = utterances.rows(numbers, self.max_tokens)
        tensors = {name: on_device(array, self.device) for name, array in rows.items()}

        def padded(name: str) -> Padded:
            values, lengths = tensors[name], tensors[f"{name}_lengths"]
            places = torch.arange(values.shape[1], device=self.device)
            return values.float(), (places >= lengths[:, None]).float()

        return {"inputs": padded("audio"), "targets": padded("tokens")}


def _type_by_name(name: str) -> ParameterType:
    """A parameter's type; all weights in the convolution module are convolution weights."""
    *modules, last = name.split(".")
    module, is_bias = modules[-1], last == "bias"
    if module in ("ln", "normalization_layer"):
        return ParameterType.LAYER_NORM_BIAS if is_bias else ParameterType.LAYER_NORM_SCALE
    if module in ("bn", "bn_normalization_layer"):
        return ParameterType.BATCH_NORM_BIAS if is_bias else ParameterType.BATCH_NORM_SCALE
    if module in ("in_proj", "out_proj"):
        if is_bias:
            return ParameterType.ATTENTION_BIAS
        qkv = module == "in_proj"
        return ParameterType.ATTENTION_QKV if qkv else ParameterType.ATTENTION_OUT
    if "bias" in last:
        return ParameterType.BIAS
    return ParameterType.CONV_WEIGHT if "conv" in name else ParameterType.WEIGHT
