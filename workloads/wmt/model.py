"""The Transformer of AlgoPerf's wmt (Vaswani et al. 2017): trained on rows, decoded step by step.

Shapes: B rows, S source tokens, T target tokens, D = d_model, V tokens of the vocabulary; in
decoding N sentences, K beams.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.wmt.layers import Config, Layer, Past, Positions

PAD = 0  # also the unknown token, and the first one that the decoder is given
_MASKED = -1e10  # added to attention logits that do not count


class _Stack(nn.Module):
    """Layers, one after the other, and a norm at their end where norms come first."""

    def __init__(self, config: Config, *, cross: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, cross=cross) for _ in range(config.layers))
        self.norm = None if config.post_norm else nn.LayerNorm(config.d_model, eps=1e-6)

    def __iter__(self) -> Iterator[Layer]:
        return iter(cast("Iterable[Layer]", self.layers))

    def finish(self, x_btd: Tensor) -> Tensor:
        """The stack's output from its last layer's."""
        return x_btd if self.norm is None else self.norm(x_btd)


class _Encoder(nn.Module):
    """Holds the encoder's layers under AlgoPerf's names."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = _Stack(config, cross=False)


class _Decoder(nn.Module):
    """Holds the decoder's layers under AlgoPerf's names."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.decoder = _Stack(config, cross=True)


class Transformer(nn.Module):
    """Encoder and decoder, under AlgoPerf's parameter names.

    One embedding serves source, target and, transposed, the output: logits are divided by the root
    of d_model, embeddings are not multiplied by it. AlgoPerf's state dictionaries name embedding
    and positions in encoder and decoder once more; such entries are left out when loading.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.pos_encoder = Positions(config)
        self.shared_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)
        self.register_load_state_dict_pre_hook(_leave_out_aliases)  # type: ignore[no-untyped-call]

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        inputs_position: Tensor | None = None,
        targets_position: Tensor | None = None,
        inputs_segmentation: Tensor | None = None,
        targets_segmentation: Tensor | None = None,
        dropout_rate: float = 0.1,
        attention_dropout_rate: float | None = None,
    ) -> Tensor:
        """Logits [B, T, V] of every target token given those before it.

        Tensors are called as in a batch.

        Args:
            inputs: Source tokens [B, S]; 0 where there is none.
            targets: Target tokens [B, T], shifted here.
            inputs_position: The place [B, S] in its sentence of every token in packed rows.
            targets_position: The same [B, T] for targets.
            inputs_segmentation: The number [B, S] of its sentence in the row, from 1, of every
                token in packed rows; attention stays within a sentence.
            targets_segmentation: The same [B, T] for targets.
            dropout_rate: Used in training mode, everywhere.
            attention_dropout_rate: Used on the attention's probabilities instead.
        """
        rates = (dropout_rate, attention_dropout_rate)
        encoded_bsd = self.encode(inputs, inputs_position, inputs_segmentation, *rates)
        mask_b1tt = _mask(targets, targets, targets_segmentation, targets_segmentation)
        is_later_tt = torch.ones_like(mask_b1tt[0, 0], dtype=torch.bool).triu(1)
        mask_b1tt = mask_b1tt.masked_fill(is_later_tt, _MASKED)
        memory_mask_b1ts = _mask(targets, inputs, targets_segmentation, inputs_segmentation)
        x_btd = self.embed(shifted(targets), targets_position, dropout_rate)
        for layer in self.decoder.decoder:
            memory = layer.multihead_attn.keys_values(encoded_bsd)
            x_btd = layer(x_btd, mask_b1tt, *rates, memory, memory_mask_b1ts)
        return self.logits(x_btd)

    def embed(self, tokens_bt: Tensor, positions_bt: Tensor | None, dropout_rate: float) -> Tensor:
        """Embeddings [B, T, D] of tokens at their positions."""
        x_btd = self.shared_embedding(tokens_bt)
        embedded_btd: Tensor = self.pos_encoder(x_btd, positions_bt, dropout_rate)
        return embedded_btd

    def encode(
        self,
        inputs_bs: Tensor,
        positions_bs: Tensor | None = None,
        segment_bs: Tensor | None = None,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float | None = None,
    ) -> Tensor:
        """The encoder's output [B, S, D] for source tokens."""
        mask_b1ss = _mask(inputs_bs, inputs_bs, segment_bs, segment_bs)
        x_bsd = self.embed(inputs_bs, positions_bs, dropout_rate)
        for layer in self.encoder.encoder:
            x_bsd = layer(x_bsd, mask_b1ss, dropout_rate, attention_dropout_rate)
        return self.encoder.encoder.finish(x_bsd)

    def logits(self, x_btd: Tensor) -> Tensor:
        """Logits [B, T, V] of the output of the decoder's last layer."""
        x_btd = self.decoder.decoder.finish(x_btd)
        return F.linear(x_btd, self.shared_embedding.weight) / math.sqrt(self.config.d_model)


class Decoding:
    """Log-probabilities of the tokens that may come next, step by step, past ones cached.

    Args:
        model: In evaluation mode.
        inputs_ns: Source tokens of the sentences.
    """

    def __init__(self, model: Transformer, inputs_ns: Tensor) -> None:
        self._model = model
        self._layers = list(model.decoder.decoder)
        encoded_nsd = model.encode(inputs_ns)
        self._memory = [layer.multihead_attn.keys_values(encoded_nsd) for layer in self._layers]
        self._memory_mask = _additive((inputs_ns > PAD)[:, None, None, :])
        self._past = [Past() for _ in self._layers]
        self._position = 0

    def __call__(self, tokens_nk: Tensor, rows_nk: Tensor) -> Tensor:
        """Log-probabilities [N, K, V] of the tokens after `tokens_nk`.

        Args:
            tokens_nk: The newest token of every beam; PAD at first.
            rows_nk: What each one follows: a beam, counted through all sentences of the call
                before. A sentence none of whose beams is named is left out from now on.
        """
        sentences, beams = tokens_nk.shape
        if self._position > 0:
            for past in self._past:
                past.take(rows_nk.flatten())
        if sentences < len(self._memory_mask):
            kept_n = rows_nk[:, 0] // beams
            self._memory = [memory.take(kept_n) for memory in self._memory]
            self._memory_mask = self._memory_mask[kept_n]
        position_11 = torch.full((1, 1), self._position, device=tokens_nk.device)
        x_btd = self._model.embed(tokens_nk.view(-1, 1), position_11, 0.0)  # B = N K, T = 1
        for layer, memory, past in zip(self._layers, self._memory, self._past, strict=True):
            x_btd = layer(x_btd, None, 0.0, 0.0, memory, self._memory_mask, past)
        self._position += 1
        return self._model.logits(x_btd).float().log_softmax(-1).view(sentences, beams, -1)


def _additive(counts: Tensor) -> Tensor:
    """What is added to attention logits: nothing where `counts`."""
    return torch.zeros(counts.shape, device=counts.device).masked_fill(~counts, _MASKED)


def _mask(
    queries_bt: Tensor, keys_bs: Tensor, segment_bt: Tensor | None, segment_bs: Tensor | None
) -> Tensor:
    """The mask [B, 1, T, S] between tokens by padding and segments."""
    counts_bts = (queries_bt > PAD)[:, :, None] & (keys_bs > PAD)[:, None, :]
    if segment_bt is not None and segment_bs is not None:
        counts_bts = counts_bts & (segment_bt[:, :, None] == segment_bs[:, None, :])
    return _additive(counts_bts)[:, None]


def shifted(targets_bt: Tensor) -> Tensor:
    """The decoder's inputs [B, T] for targets: each row shifted right, PAD in front.

    As in AlgoPerf, packed rows are shifted as one sequence: the first sentence of a row starts
    with PAD, and every later sentence with the EOS token of the one before it.
    """
    return F.pad(targets_bt, (1, 0))[:, :-1]


def _leave_out_aliases(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Drops what AlgoPerf's state dictionaries repeat."""
    for part in ("encoder.", "decoder."):
        for name in ("shared_embedding.weight", "pos_encoder.pe"):
            state.pop(prefix + part + name, None)
