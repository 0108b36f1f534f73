"""wmt's beam search: against exhaustive search, and cached against uncached decoding."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.workloads.test_wmt import SMALL, model_of, sentences
from workloads.wmt.beam_search import beam_search
from workloads.wmt.evaluation import translate
from workloads.wmt.model import Decoding

CPU = torch.device("cpu")
EOS = 2
NEVER = -math.inf


class Chain:
    """A toy model: the next token depends on the sentence and the token before.

    Args:
        tables: Log-probabilities [sentences, vocab, vocab]; a text starts after token 0.
    """

    def __init__(self, tables):
        self.tables = tables
        self.sentence = None

    def __call__(self, tokens, follows):
        beams = tokens.shape[1]
        if self.sentence is None:
            self.sentence = torch.arange(len(self.tables))
        elif len(tokens) < len(self.sentence):
            self.sentence = self.sentence[follows[:, 0] // beams]
        assert len(tokens) == len(self.sentence)
        return self.tables[self.sentence[:, None], tokens]


def random_tables(sentences, vocab, seed, sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(sharpness * rng.normal(size=(sentences, vocab, vocab)))
    return logits.log_softmax(-1).float()


def penalty(length, alpha):
    return ((5 + length) / 6) ** alpha


def exhaustive(table, max_length, alpha):
    """The best finished text of all, by score; or the likeliest text of full length."""
    vocab = len(table)
    others = [token for token in range(vocab) if token != EOS]
    finished, unfinished = {}, {}
    for length in range(1, max_length + 1):
        for body in itertools.product(others, repeat=length - 1):
            text = (*body, EOS)
            steps = zip((0, *text), text, strict=False)
            log_prob = sum(table[a, b].item() for a, b in steps)
            finished[text] = log_prob / penalty(length, alpha)
    for text in itertools.product(others, repeat=max_length):
        steps = zip((0, *text), text, strict=False)
        unfinished[text] = sum(table[a, b].item() for a, b in steps)
    best = max(finished, key=finished.get)
    return best if finished[best] > NEVER else max(unfinished, key=unfinished.get)


def cut(tokens):
    return tuple(tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_beam_of_all_texts_finds_the_best_one(seed, alpha):
    tables = random_tables(5, 4, seed)
    found = beam_search(Chain(tables), 5, 4, CPU, beams=3**4, alpha=alpha).tolist()
    for table, tokens in zip(tables, found, strict=True):
        assert cut(tokens) == exhaustive(table, 4, alpha)
        after_end = tokens[len(cut(tokens)) :]
        assert not any(after_end)


def table_of(moves, vocab=6):
    """A table [1, vocab, vocab] from {before: {after: probability}}; all else is impossible."""
    table = torch.full((1, vocab, vocab), NEVER)
    for before, after in moves.items():
        for token, probability in after.items():
            table[0, before, token] = math.log(probability)
    return table


# The greedy way is 0 -> 3 -> ..., the best path 0 -> 4 -> 5 -> EOS.
GARDEN = {
    0: {3: 0.6, 4: 0.4},
    3: {3: 0.4, 4: 0.3, EOS: 0.3},
    4: {5: 0.98, EOS: 0.02},
    5: {EOS: 0.99, 3: 0.01},
}


def test_the_best_path_is_found_where_the_greedy_one_is_worse():
    table = table_of(GARDEN)
    assert beam_search(Chain(table), 1, 8, CPU, beams=4)[0].tolist() == [4, 5, EOS, 0, 0, 0, 0, 0]
    assert exhaustive(table[0], 5, 0.6) == (4, 5, EOS)
    assert beam_search(Chain(table), 1, 8, CPU, beams=1)[0, 0] == 3


def test_an_early_end_wins_only_where_the_penalty_lets_it():
    moves = {0: {EOS: 0.4, 3: 0.6}, 3: {4: 0.8, 5: 0.2}, 4: {EOS: 0.8, 5: 0.2}, 5: {EOS: 1.0}}
    short, long = math.log(0.4), math.log(0.6 * 0.8 * 0.8)
    assert short > long
    assert short / penalty(1, 0.6) < long / penalty(3, 0.6)
    table = table_of(moves)
    assert cut(beam_search(Chain(table), 1, 6, CPU, alpha=0.0)[0].tolist()) == (EOS,)
    assert cut(beam_search(Chain(table), 1, 6, CPU, alpha=0.6)[0].tolist()) == (3, 4, EOS)


def test_without_an_end_the_likeliest_text_of_full_length_comes():
    table = table_of({0: {3: 0.7, 4: 0.3}, 3: {4: 0.6, 3: 0.4}, 4: {3: 0.9, 4: 0.1}})
    assert beam_search(Chain(table), 1, 5, CPU)[0].tolist() == [3, 4, 3, 4, 3]


def test_a_text_may_end_at_the_last_token():
    table = table_of({0: {3: 1.0}, 3: {4: 1.0}, 4: {EOS: 1.0}})
    assert beam_search(Chain(table), 1, 3, CPU)[0].tolist() == [3, 4, EOS]


def test_sentences_are_searched_independently_of_each_other():
    tables = torch.cat([random_tables(6, 6, 1, 4.0), table_of(GARDEN)])
    together = beam_search(Chain(tables), 7, 9, CPU).tolist()
    lengths = {len(cut(tokens)) for tokens in together}
    assert len(lengths) > 1  # so that some are done before others
    for number, tokens in enumerate(together):
        alone = beam_search(Chain(tables[number : number + 1]), 1, 9, CPU)
        assert alone[0].tolist() == tokens


def test_logits_that_are_not_numbers_end_the_search():
    calls = []

    def broken(tokens, follows):
        calls.append(tokens)
        return torch.full((*tokens.shape, 5), math.nan)

    assert beam_search(broken, 2, 50, CPU).shape == (2, 50)
    assert len(calls) == 1


class Uncached:
    """What `Decoding` gives, computed again from all tokens so far."""

    def __init__(self, model, inputs):
        self.model, self.inputs, self.texts = model, inputs, None

    def __call__(self, tokens, follows):
        beams = tokens.shape[1]
        if self.texts is None:
            self.texts = torch.zeros(tokens.numel(), 0, dtype=torch.long)
            self.inputs = self.inputs.repeat_interleave(beams, dim=0)
        else:
            self.inputs = self.inputs[follows.flatten()]
            self.texts = torch.cat([self.texts[follows.flatten()], tokens.view(-1, 1)], dim=1)
        following = torch.cat([self.texts, torch.ones(len(self.texts), 1, dtype=torch.long)], dim=1)
        logits = self.model(self.inputs, following, dropout_rate=0.0)[:, -1]
        return logits.log_softmax(-1).view(*tokens.shape, -1)


@pytest.fixture(params=["plain", "post_norm"])
def model(request):
    model = model_of(SMALL, seed=3)
    if request.param == "post_norm":
        model = model_of(replace(SMALL, post_norm=True), seed=3)
    with torch.no_grad():
        model.shared_embedding.weight.mul_(3)  # sharper: texts differ and end
    return model.eval()


def test_cached_decoding_equals_uncached(model):
    inputs = sentences([7, 3, 5, 1], 7)
    with torch.inference_mode():
        cached, uncached = Decoding(model, inputs), Uncached(model, inputs)
        tokens = torch.zeros(4, 3, dtype=torch.long)
        follows = torch.arange(12).view(4, 3)
        generator = torch.manual_seed(0)
        for step in range(6):
            expected = uncached(tokens, follows)
            torch.testing.assert_close(cached(tokens, follows), expected, rtol=1e-4, atol=1e-4)
            count = len(tokens)
            tokens = torch.randint(3, 40, (count, 3), generator=generator)
            follows = torch.randint(0, 3, (count, 3), generator=generator)
            follows += 3 * torch.arange(count)[:, None]
            if step == 2:  # the second sentence is done
                tokens, follows = tokens[[0, 2, 3]], follows[[0, 2, 3]]


def test_translations_of_a_model_are_those_of_uncached_search(model):
    inputs = sentences([7, 3, 5, 1, 6], 7, seed=4)
    with torch.inference_mode():
        found = translate(model, inputs)
        expected = beam_search(Uncached(model, inputs), 5, 11, CPU)
    assert torch.equal(found, expected)
    assert found.shape == (5, 11)
