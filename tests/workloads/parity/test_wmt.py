"""wmt's training task and decoding, against literal implementations of AlgoPerf's rules."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import workloads
from tests.workloads.test_wmt import SMALL, model_of, sentences
from tests.workloads.test_wmt_search import CPU, EOS, Chain, penalty, random_tables
from workloads.wmt.beam_search import beam_search
from workloads.wmt.data import row_batches
from workloads.wmt.evaluation import translate
from workloads.wmt.model import shifted

# ---- packing


def packed_rows(pairs, width):
    """Rows of pairs: groups of `width` pairs, in each of them one row is open at a time."""
    rows = []
    for group in range(0, len(pairs), width):
        row, used = [], [0, 0]
        for pair in pairs[group : group + width]:
            if used[0] + pair[0] > width or used[1] + pair[1] > width:
                rows.append(row)
                row, used = [], [0, 0]
            row.append(pair)
            used = [used[0] + pair[0], used[1] + pair[1]]
        rows.append(row)
    return rows


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_packing_restarts_after_as_many_pairs_as_a_row_has_tokens(lengths, size, seed):
    lengths = np.array(lengths)
    batches = row_batches(lengths, 9, size, seed)
    stream, counts = [], []
    while len(stream) < 100:
        chosen, per_row = next(batches)
        stream += chosen.tolist()
        counts += per_row.tolist()
    expected = packed_rows([tuple(lengths[pair]) for pair in stream], 9)
    complete = len(counts) - 1  # the literal rows end where the stream does
    assert counts[:complete] == [len(row) for row in expected][:complete]


def test_official_rows_are_packed_in_groups_of_256_pairs():
    lengths = np.ones((600, 2), np.int64)  # 256 pairs of one token fill a row exactly
    _, per_row = next(row_batches(lengths, 256, 4, 0))
    assert per_row.tolist() == [256, 256, 256, 256]
    lengths[:] = 3  # 85 pairs fit a row: 256 = 85 + 85 + 85 + 1
    _, per_row = next(row_batches(lengths, 256, 8, 0))
    assert per_row.tolist() == [85, 85, 85, 1] * 2


# ---- the decoder's inputs


def test_a_row_is_shifted_as_one_sequence():
    targets = torch.tensor([[5, 6, EOS, 7, EOS, 0, 0], [8, EOS, 9, 9, 9, EOS, 0]])
    expected = [[row[place - 1] if place else 0 for place in range(7)] for row in targets.tolist()]
    assert shifted(targets).tolist() == expected
    assert expected[0] == [0, 5, 6, EOS, 7, EOS, 0]


def test_a_later_sentence_of_a_row_starts_from_the_eos_before_it():
    """Its logits are those of the sentence alone, read after EOS instead of after token 0."""
    model = model_of()
    source, first, second = sentences([4], 4, seed=1), [7, 9, EOS], [11, 12, 13, EOS]
    row = torch.tensor([[*first, *second]])
    numbers = torch.tensor([[1] * 3 + [2] * 4])
    places = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    inputs = torch.cat([source, source], 1)
    packed = {
        "inputs_position": torch.arange(4).repeat(2)[None],
        "targets_position": places,
        "inputs_segmentation": torch.tensor([[1] * 4 + [2] * 4]),
        "targets_segmentation": numbers,
    }
    with torch.no_grad():
        logits = model(inputs, row, **packed, dropout_rate=0.0)[0, 3:]
        # alone, the sentence's row begins with EOS and is shifted: logits of its later places
        read = torch.tensor([[EOS, *second[:-1]]])
        encoded = model.encode(source)
        mask = torch.full((4, 4), -1e10).triu(1)
        x = model.embed(read, None, 0.0)
        for layer in model.decoder.decoder:
            memory = layer.multihead_attn.keys_values(encoded)
            x = layer(x, mask, 0.0, None, memory, torch.zeros(1, 1, 4, 4))
        expected = model.logits(x)[0]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


# ---- the loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_mask_alone_decides_what_counts(smoothing):
    mini = workloads.get("wmt_mini")
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(2, 5, 7)), np.array([[3, 4, 2, 0, 0], [5, 2, 0, 0, 0]])
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for mask in (None, (targets > 0).astype(float), np.ones((2, 5)), np.eye(2, 5)):
        summed, count = 0.0, 0.0
        for b, t in np.ndindex(2, 5):
            weight = 1.0 if mask is None else mask[b, t]
            right, others = log_probs[b, t, targets[b, t]], log_probs[b, t].mean()
            summed -= (weight != 0) * ((1 - smoothing) * right + smoothing * others)
            count += weight
        loss = mini.loss_fn(
            torch.tensor(targets),
            torch.tensor(logits),
            None if mask is None else torch.tensor(mask),
            label_smoothing=smoothing,
        )
        assert loss["summed"].item() == pytest.approx(summed, rel=1e-12)
        assert loss["n_valid_examples"].item() == count


# ---- beam search


def search(table, positions, alpha, beams=4):
    """A literal beam search in which the start token takes one of the `positions`.

    Runs to the last position; keeps the best finished text, else the likeliest live one.
    """
    live, finished = [(0.0, (0,))], []
    for _ in range(positions - 1):
        grown = sorted(
            (
                (score + table[text[-1]][token].item(), (*text, token))
                for score, text in live
                for token in range(len(table))
            ),
            reverse=True,
        )[: 2 * beams]
        finished += [
            (score / penalty(len(text) - 1, alpha), text)
            for score, text in grown
            if text[-1] == EOS
        ]
        live = [(score, text) for score, text in grown if text[-1] != EOS][:beams]
    best = max(finished, default=(-math.inf, live[0][1]))
    return best[1][1:]


@pytest.mark.parametrize("positions", [2, 3, 6, 11])
def test_the_start_token_takes_a_position(positions):
    tables = random_tables(40, 7, positions, sharpness=1.5)
    found = beam_search(Chain(tables), 40, positions - 1, CPU).tolist()
    for table, tokens in zip(tables, found, strict=True):
        text = search(table, positions, 0.6)
        assert tuple(tokens[: len(text)]) == text
        assert not any(tokens[len(text) :])


def test_a_model_of_n_positions_decodes_one_token_less():
    inputs = sentences([3, 6], 6)
    assert translate(model_of(), inputs).shape == (2, SMALL.max_length - 1)
    assert workloads.get("wmt").config.max_length == 256
