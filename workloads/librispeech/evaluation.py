"""What librispeech measures: word error rates of greedy decoding, and the CTC loss.

All of it is made of sums, which add up over batches and over processes.
Shapes: B utterances, T frames, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from workloads.vocabulary import UNKNOWN as BLANK

SUMS = ("errors", "words", "plain_errors", "plain_words", "loss", "tokens")


def greedy(logits_btv: Tensor, paddings_bt: Tensor) -> list[list[int]]:
    """The likeliest token of every frame, repeats taken together, blanks left out.

    Args:
        logits_btv: Logits of tokens, the blank among them.
        paddings_bt: A frame where it is 1 is a blank.
    """
    best_bt = logits_btv.argmax(-1).masked_fill(paddings_bt == 1, BLANK)
    before_bt = torch.nn.functional.pad(best_bt, (1, 0), value=BLANK)[:, :-1]
    kept_bt = (best_bt != before_bt) & (best_bt != BLANK)
    pairs = zip(best_bt.cpu().unbind(), kept_bt.cpu().unbind(), strict=True)
    return [tokens[keep].tolist() for tokens, keep in pairs]


def sums(
    texts: Sequence[str], references: Sequence[str], losses: Mapping[str, float]
) -> dict[str, float]:
    """SUMS over utterances, from decoded texts, references, and the sums "loss" and "tokens"."""
    total: Counter[str] = Counter(dict.fromkeys(SUMS, 0.0))
    total.update(losses)
    if texts:
        total["plain_errors"], total["plain_words"] = word_errors(texts, references)
        shown = ([tensorflow_text(text) for text in side] for side in (texts, references))
        total["errors"], total["words"] = word_errors(*shown)
    return dict(total)


def metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """The metrics that SUMS make."""
    return {
        "wer": sums["errors"] / sums["words"],
        "wer_plain": sums["plain_errors"] / sums["plain_words"],
        "ctc_loss": sums["loss"] / max(sums["tokens"], 1.0),
    }


def tensorflow_text(text: str) -> str:
    """How Python shows the TensorFlow string that AlgoPerf counts the words of.

    It has two words more than the text, which are always right, and its first and last word are
    quoted, by " where there is an apostrophe in the text and by ' elsewhere.
    """
    return f"tf.Tensor({text.encode()!r}, shape=(), dtype=string)"


def word_errors(texts: Sequence[str], references: Sequence[str]) -> tuple[int, int]:
    """Substitutions, deletions and insertions of words; words of the references."""
    import jiwer  # costs a tenth of a second

    found = jiwer.process_words(list(references), list(texts))
    errors = found.substitutions + found.deletions + found.insertions
    return errors, found.hits + found.substitutions + found.deletions
