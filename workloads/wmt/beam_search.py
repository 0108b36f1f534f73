"""Beam search (Wu et al. 2016, with their length penalty), as AlgoPerf's wmt decodes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from workloads.vocabulary import EOS

NextTokens = Callable[[Tensor, Tensor], Tensor]  # as workloads.wmt.model.Decoding
START = 0


def beam_search(
    next_tokens: NextTokens,
    sentences: int,
    max_length: int,
    device: torch.device,
    *,
    beams: int = 4,
    alpha: float = 0.6,
) -> Tensor:
    """The best translation of every sentence: tokens [sentences, max_length], 0 after its EOS.

    A finished one scores its log-probability over ((5 + length) / 6) ** alpha, EOS counted; a
    sentence is done once no live beam can come to score better. One that finishes nothing within
    `max_length` tokens gets its likeliest beam, without an EOS.

    Args:
        next_tokens: Takes the newest token of every beam and the beam that it follows, numbered
            through all beams of the call before, both [N, beams] for the N sentences that are not
            done; gives log-probabilities [N, beams, vocab].
        sentences: How many there are.
        max_length: Of a translation in tokens, its EOS among them.
        device: Where the tensors are.
        beams: How many continuations of a sentence are kept.
        alpha: Of the length penalty.
    """
    best = torch.zeros(sentences, max_length, dtype=torch.long, device=device)
    best_scores = torch.full((sentences,), -math.inf, device=device)
    undone = torch.arange(sentences, device=device)
    tokens = torch.full((sentences, beams), START, device=device)
    follows = torch.arange(sentences * beams, device=device).view(sentences, beams)
    scores = torch.full((sentences, beams), -math.inf, device=device)
    scores[:, 0] = 0.0  # at first all beams are the same: one counts
    texts = torch.zeros(sentences, beams, max_length, dtype=torch.long, device=device)
    for length in range(1, max_length + 1):
        log_probs = next_tokens(tokens, follows)
        vocabulary = log_probs.shape[-1]
        # Of each beam one continuation at most is its end: of twice as many, enough go on.
        sums, flat = (scores[:, :, None] + log_probs).flatten(1).topk(2 * beams)
        parents, tokens = flat // vocabulary, flat % vocabulary
        texts = _chosen(texts, parents)
        texts[:, :, length - 1] = tokens
        ended = tokens == EOS

        finished = (sums / _penalty(length, alpha)).masked_fill(~ended, -math.inf)
        score, which = finished.max(dim=1)
        better = score > best_scores[undone]
        best_scores[undone[better]] = score[better]
        best[undone[better]] = texts[better, which[better]]

        scores, live = sums.masked_fill(ended, -math.inf).topk(beams)
        attainable = scores[:, 0] / _penalty(max_length, alpha)
        on = best_scores[undone] < attainable
        first_beams = torch.arange(len(undone), device=device)[:, None] * beams
        follows = (first_beams + parents.gather(1, live))[on]
        tokens, texts = tokens.gather(1, live)[on], _chosen(texts, live)[on]
        scores, undone = scores[on], undone[on]
        if not len(undone):
            break
    unfinished = best_scores[undone] == -math.inf
    best[undone[unfinished]] = texts[unfinished, 0]
    return best


def _penalty(length: int, alpha: float) -> float:
    return float(((5 + length) / 6) ** alpha)


def _chosen(texts: Tensor, beams: Tensor) -> Tensor:
    """Of texts [N, K, T] those that `beams` [N, M] names: [N, M, T]."""
    return texts.gather(1, beams[:, :, None].expand(-1, -1, texts.shape[2]))
