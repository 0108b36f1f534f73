"""Beam search (Wu et al. 2016, with their length penalty), as AlgoPerf's wmt decodes.

Shapes: A all sentences, N those that are not done, K beams, C = 2 K continuations, L tokens of a
translation, V tokens of the vocabulary.
"""

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
    """The best translation of every sentence: tokens [A, L], 0 after its EOS.

    A finished one scores its log-probability over ((5 + length) / 6) ** alpha, EOS counted; a
    sentence is done once no live beam can come to score better. One that finishes nothing within
    `max_length` tokens gets its likeliest beam, without an EOS.

    Args:
        next_tokens: Takes the newest token [N, K] of every beam and the beam [N, K] that it
            follows, numbered through all beams of the call before; gives log-probabilities
            [N, K, V].
        sentences: A, how many there are.
        max_length: L, with its EOS.
        device: Where the tensors are.
        beams: K, how many continuations of a sentence are kept.
        alpha: The exponent of the length penalty.
    """
    best_al = torch.zeros(sentences, max_length, dtype=torch.long, device=device)
    best_score_a = torch.full((sentences,), -math.inf, device=device)
    undone_n = torch.arange(sentences, device=device)
    token_nk = torch.full((sentences, beams), START, device=device)
    follows_nk = torch.arange(sentences * beams, device=device).view(sentences, beams)
    score_nk = torch.full((sentences, beams), -math.inf, device=device)
    score_nk[:, 0] = 0.0  # at first all beams are the same: one counts
    text_nkl = torch.zeros(sentences, beams, max_length, dtype=torch.long, device=device)
    for length in range(1, max_length + 1):
        log_prob_nkv = next_tokens(token_nk, follows_nk)
        vocabulary = log_prob_nkv.shape[-1]
        # Of each beam one continuation at most is its end: of twice as many, enough continue.
        sum_nc, place_nc = (score_nk[:, :, None] + log_prob_nkv).flatten(1).topk(2 * beams)
        parent_nc, token_nc = place_nc // vocabulary, place_nc % vocabulary
        text_ncl = _chosen(text_nkl, parent_nc)
        text_ncl[:, :, length - 1] = token_nc
        ended_nc = token_nc == EOS

        finished_nc = (sum_nc / _penalty(length, alpha)).masked_fill(~ended_nc, -math.inf)
        score_n, which_n = finished_nc.max(dim=1)
        better_n = score_n > best_score_a[undone_n]
        best_score_a[undone_n[better_n]] = score_n[better_n]
        best_al[undone_n[better_n]] = text_ncl[better_n, which_n[better_n]]

        score_nk, live_nk = sum_nc.masked_fill(ended_nc, -math.inf).topk(beams)
        attainable_n = score_nk[:, 0] / _penalty(max_length, alpha)
        on_n = best_score_a[undone_n] < attainable_n
        first_beam_n1 = torch.arange(len(undone_n), device=device)[:, None] * beams
        follows_nk = (first_beam_n1 + parent_nc.gather(1, live_nk))[on_n]
        token_nk, text_nkl = token_nc.gather(1, live_nk)[on_n], _chosen(text_ncl, live_nk)[on_n]
        score_nk, undone_n = score_nk[on_n], undone_n[on_n]
        if not len(undone_n):
            break
    unfinished_n = best_score_a[undone_n] == -math.inf
    best_al[undone_n[unfinished_n]] = text_nkl[unfinished_n, 0]
    return best_al


def _penalty(length: int, alpha: float) -> float:
    return float(((5 + length) / 6) ** alpha)


def _chosen(text_nkl: Tensor, beam_nc: Tensor) -> Tensor:
    """The texts [N, C, L] that `beam_nc` names."""
    return text_nkl.gather(1, beam_nc[:, :, None].expand(-1, -1, text_nkl.shape[2]))
