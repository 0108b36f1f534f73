"""The Transformer of AlgoPerf's wmt (Vaswani et al. 2017), trained whole, decoded by steps."""

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

    def finish(self, x: Tensor) -> Tensor:
        """The stack's output from its last layer's."""
        return x if self.norm is None else self.norm(x)


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
        """Logits [B, T, vocab] of every target token given those before it.

        Args:
            inputs: Source tokens [B, S]; 0 where there is none.
            targets: Target tokens [B, T], shifted here.
            inputs_position: Place in its sentence [B, S] of every token in packed rows.
            targets_position: [B, T].
            inputs_segmentation: Number of its sentence in the row [B, S], from 1, of every token in
                packed rows; attention stays within a sentence.
            targets_segmentation: [B, T].
            dropout_rate: Used in training mode, everywhere.
            attention_dropout_rate: Used on the attention's probabilities instead.
        """
        rates = (dropout_rate, attention_dropout_rate)
        encoded = self.encode(inputs, inputs_position, inputs_segmentation, *rates)
        mask = _mask(targets, targets, targets_segmentation, targets_segmentation)
        later = torch.ones_like(mask[0, 0], dtype=torch.bool).triu(1)
        mask = mask.masked_fill(later, _MASKED)
        memory_mask = _mask(targets, inputs, targets_segmentation, inputs_segmentation)
        x = self.embed(shifted(targets), targets_position, dropout_rate)
        for layer in self.decoder.decoder:
            memory = layer.multihead_attn.keys_values(encoded)
            x = layer(x, mask, *rates, memory, memory_mask)
        return self.logits(x)

    def embed(self, tokens: Tensor, positions: Tensor | None, dropout_rate: float) -> Tensor:
        """Embeddings [B, T, D] of tokens [B, T] at positions [B, T]."""
        embedded: Tensor = self.pos_encoder(self.shared_embedding(tokens), positions, dropout_rate)
        return embedded

    def encode(
        self,
        inputs: Tensor,
        positions: Tensor | None = None,
        segmentation: Tensor | None = None,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float | None = None,
    ) -> Tensor:
        """What the encoder makes of source tokens [B, S]: [B, S, D]."""
        mask = _mask(inputs, inputs, segmentation, segmentation)
        x = self.embed(inputs, positions, dropout_rate)
        for layer in self.encoder.encoder:
            x = layer(x, mask, dropout_rate, attention_dropout_rate)
        return self.encoder.encoder.finish(x)

    def logits(self, x: Tensor) -> Tensor:
        """Logits [..., vocab] of what the decoder's last layer gives, [..., D]."""
        x = self.decoder.decoder.finish(x)
        return F.linear(x, self.shared_embedding.weight) / math.sqrt(self.config.d_model)


class Decoding:
    """Log-probabilities of the tokens that may come next, step by step, past ones cached.

    Args:
        model: In evaluation mode.
        inputs: Source tokens [N, S] of the sentences.
    """

    def __init__(self, model: Transformer, inputs: Tensor) -> None:
        self._model = model
        self._layers = list(model.decoder.decoder)
        encoded = model.encode(inputs)
        self._memory = [layer.multihead_attn.keys_values(encoded) for layer in self._layers]
        self._memory_mask = _additive((inputs > PAD)[:, None, None, :])
        self._past = [Past() for _ in self._layers]
        self._position = 0

    def __call__(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Log-probabilities [N, beams, vocab] of the tokens after `tokens`.

        Args:
            tokens: The newest token of every beam [N, beams]; PAD at first.
            rows: What each one follows [N, beams]: a beam, counted through all sentences of the
                call before. A sentence none of whose beams is named is left out from now on.
        """
        sentences, beams = tokens.shape
        if self._position > 0:
            for past in self._past:
                past.take(rows.flatten())
        if sentences < len(self._memory_mask):
            kept = rows[:, 0] // beams
            self._memory = [memory.take(kept) for memory in self._memory]
            self._memory_mask = self._memory_mask[kept]
        position = torch.full((1, 1), self._position, device=tokens.device)
        x = self._model.embed(tokens.view(-1, 1), position, 0.0)
        for layer, memory, past in zip(self._layers, self._memory, self._past, strict=True):
            x = layer(x, None, 0.0, 0.0, memory, self._memory_mask, past)
        self._position += 1
        return self._model.logits(x).float().log_softmax(-1).view(sentences, beams, -1)


def _additive(counts: Tensor) -> Tensor:
    """What is added to attention logits: nothing where `counts`."""
    return torch.zeros(counts.shape, device=counts.device).masked_fill(~counts, _MASKED)


def _mask(
    queries: Tensor, keys: Tensor, of_queries: Tensor | None, of_keys: Tensor | None
) -> Tensor:
    """The mask [B, 1, T, S] between tokens [B, T] and [B, S] by padding and segments."""
    counts = (queries > PAD)[:, :, None] & (keys > PAD)[:, None, :]
    if of_queries is not None and of_keys is not None:
        counts = counts & (of_queries[:, :, None] == of_keys[:, None, :])
    return _additive(counts)[:, None]


def shifted(targets: Tensor) -> Tensor:
    """The decoder's inputs [B, T] for targets [B, T]: each row shifted right, PAD in front.

    As in AlgoPerf, packed rows are shifted as one sequence: the first sentence of a row starts
    with PAD, and every later sentence with the EOS token of the one before it.
    """
    return F.pad(targets, (1, 0))[:, :-1]


def _leave_out_aliases(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Drops what AlgoPerf's state dictionaries repeat."""
    for part in ("encoder.", "decoder."):
        for name in ("shared_embedding.weight", "pos_encoder.pe"):
            state.pop(prefix + part + name, None)
