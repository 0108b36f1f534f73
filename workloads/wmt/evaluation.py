"""What wmt measures: BLEU of beam search's translations, token accuracy, token loss.

All of it is made of sums, which add up over batches and over processes.
Shapes: B sentences, S source tokens, T target tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import Batch
from workloads.vocabulary import EOS, Vocabulary
from workloads.wmt.beam_search import beam_search
from workloads.wmt.model import PAD, Decoding, Transformer

_ORDERS = range(1, 5)  # n-grams of one to four words
_BLEU = ("words", "reference_words", *(f"{what}_{n}" for what in ("all", "right") for n in _ORDERS))
SUMS = (
    *("tokens", "right_tokens", "loss"),
    *(f"{kind}_{name}" for kind in ("bleu", "bleu_uncut") for name in _BLEU),
)


def sums(model: Transformer, batches: Iterable[Batch], vocabulary: Vocabulary) -> dict[str, float]:
    """SUMS over batches of one pair per row; `model` must be in evaluation mode."""
    total: Counter[str] = Counter(dict.fromkeys(SUMS, 0.0))
    cut, uncut, references = [], [], []
    for batch in batches:
        total.update(_token_sums(model(batch["inputs"], batch["targets"]), batch["targets"]))
        for tokens in translate(model, batch["inputs"]).tolist():
            cut.append(until_eos(tokens))
            uncut.append(tokens if EOS not in tokens else cut[-1])
        references += [until_eos(tokens) for tokens in batch["targets"].tolist()]
    if references:
        texts = vocabulary.decode(references)
        for kind, translations in (("bleu", cut), ("bleu_uncut", uncut)):
            found = bleu_sums(vocabulary.decode(translations), texts)
            total.update({f"{kind}_{name}": value for name, value in found.items()})
    return dict(total)


def metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """The metrics that SUMS make."""
    return {
        "bleu": bleu({name: sums[f"bleu_{name}"] for name in _BLEU}),
        "bleu_uncut": bleu({name: sums[f"bleu_uncut_{name}"] for name in _BLEU}),
        "accuracy": sums["right_tokens"] / sums["tokens"],
        "loss": sums["loss"] / sums["tokens"],
    }


def translate(model: Transformer, inputs_bs: Tensor) -> Tensor:
    """The best translation of every sentence: tokens [B, max_length - 1].

    As in AlgoPerf, the start token takes the first of the model's `max_length` positions.
    """
    length = model.config.max_length - 1
    return beam_search(Decoding(model, inputs_bs), len(inputs_bs), length, inputs_bs.device)


def until_eos(tokens: Sequence[int]) -> Sequence[int]:
    """What AlgoPerf takes for the text: up to the first EOS or, where there is none, one token."""
    return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens[:1]


def bleu_sums(translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """What BLEU is made of: words, and n-grams of each order, all of them and the right ones.

    Cased; words are what sacrebleu's tokenizer "13a" takes for some.
    """
    from sacrebleu import corpus_bleu  # costs a quarter of a second

    found = corpus_bleu(translations, [references], tokenize="13a", force=True)
    counted = {"words": found.sys_len, "reference_words": found.ref_len}
    for order in _ORDERS:
        counted[f"all_{order}"] = found.totals[order - 1]
        counted[f"right_{order}"] = found.counts[order - 1]
    return {name: float(value) for name, value in counted.items()}


def bleu(sums: Mapping[str, float]) -> float:
    """BLEU in percent, orders of which none is right smoothed exponentially."""
    from sacrebleu.metrics.bleu import BLEU

    found = BLEU.compute_bleu(
        [int(sums[f"right_{order}"]) for order in _ORDERS],
        [int(sums[f"all_{order}"]) for order in _ORDERS],
        int(sums["words"]),
        int(sums["reference_words"]),
        smooth_method="exp",
    )
    return float(found.score)


def _token_sums(logits_btv: Tensor, targets_bt: Tensor) -> dict[str, float]:
    """How many target tokens there are and were predicted, and their loss."""
    loss = F.cross_entropy(
        logits_btv.flatten(0, 1), targets_bt.flatten(), ignore_index=PAD, reduction="sum"
    )
    counts_bt = targets_bt > PAD
    is_right_bt = (logits_btv.argmax(-1) == targets_bt) & counts_bt
    return {
        "tokens": float(counts_bt.sum()),
        "right_tokens": float(is_right_bt.sum()),
        "loss": float(loss.double()),
    }
