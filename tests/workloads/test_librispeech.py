"""librispeech: its loss, decoding and word error rates."""

import itertools
import math

import jiwer
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import workloads
from workloads.librispeech import evaluation
from workloads.librispeech.layers import averaged_statistics

MINIS = ("librispeech_conformer_mini", "librispeech_deepspeech_mini")
WORDS = st.lists(st.sampled_from(["A", "B", "IT'S", "CAT", "É"]), max_size=6)


@pytest.fixture(params=MINIS)
def mini(request):
    return workloads.get(request.param)


def paddings(lengths, size):
    return (torch.arange(size) >= torch.tensor(lengths)[:, None]).float()


# ---- CTC


def collapsed(path):
    """What a path of tokens stands for."""
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def brute_force(probabilities, labels):
    """CTC's loss: minus the log of all paths' probability that stand for the labels."""
    frames, vocab = probabilities.shape
    total = sum(
        math.prod(probabilities[t, token] for t, token in enumerate(path))
        for path in itertools.product(range(vocab), repeat=frames)
        if collapsed(path) == tuple(labels)
    )
    return -math.log(total)


def test_the_loss_is_the_sum_over_all_alignments(mini):
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 3)
    frames, labels = [5, 4, 3, 5], [[1, 2], [2, 2], [1], [2, 1, 2]]
    tokens = torch.zeros(4, 6)
    for row, chosen in enumerate(labels):
        tokens[row, : len(chosen)] = torch.tensor(chosen)
    targets = tokens, paddings([len(chosen) for chosen in labels], 6)
    loss = mini.loss_fn(targets, (logits, paddings(frames, 5)))
    probabilities = logits.double().softmax(-1).numpy()
    expected = [
        brute_force(probabilities[row, : frames[row]], chosen) for row, chosen in enumerate(labels)
    ]
    np.testing.assert_allclose(loss["per_example"], expected, rtol=1e-5)
    assert loss["summed"].item() == pytest.approx(sum(expected), rel=1e-5)
    assert loss["n_valid_examples"].item() == sum(map(len, labels))
    assert set(loss) == {"summed", "n_valid_examples", "per_example"}
    smoothed = mini.loss_fn(targets, (logits, paddings(frames, 5)), label_smoothing=0.5)
    assert torch.equal(smoothed["summed"], loss["summed"])


def test_with_a_mask_utterances_count_that_it_keeps_and_that_have_a_transcript(mini):
    torch.manual_seed(0)
    logits = torch.randn(4, 7, 5), paddings([7, 6, 7, 5], 7)
    targets = torch.tensor([[1.0, 2], [3, 0], [4, 4], [0, 0]]), paddings([2, 1, 2, 0], 2)
    whole = mini.loss_fn(targets, logits)
    assert whole["n_valid_examples"].item() == 5
    assert mini.loss_fn(targets, logits, torch.ones(4))["n_valid_examples"].item() == 3
    masked = mini.loss_fn(targets, logits, torch.tensor([1.0, 0, 1, 1]))
    assert masked["n_valid_examples"].item() == 2
    kept = whole["per_example"] * torch.tensor([1.0, 0, 1, 1])
    torch.testing.assert_close(masked["per_example"], kept)
    torch.testing.assert_close(masked["summed"], kept.sum())
    none = mini.loss_fn(targets, logits, torch.zeros(4))
    assert (none["n_valid_examples"].item(), none["summed"].item()) == (1, 0)


def test_a_transcript_longer_than_its_frames_has_an_infinite_loss(mini):
    targets = torch.tensor([[1.0, 1]]), torch.zeros(1, 2)
    assert mini.loss_fn(targets, (torch.randn(1, 2, 3), torch.zeros(1, 2)))["summed"] == math.inf


# ---- decoding


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4),
    st.integers(0, 6),
)
def test_greedy_decoding_collapses_repeats_then_drops_blanks(paths, length):
    logits = torch.nn.functional.one_hot(torch.tensor(paths), 4).float()
    found = evaluation.greedy(logits, paddings([length] * len(paths), 6))
    assert found == [list(collapsed(path[:length])) for path in paths]


# ---- word error rates


def edit_distance(reference, hypothesis):
    """By the textbook's table."""
    table = [list(range(len(hypothesis) + 1))]
    for row, word in enumerate(reference, start=1):
        table.append([row])
        for column, other in enumerate(hypothesis, start=1):
            change = table[row - 1][column - 1] + (word != other)
            table[row].append(min(change, table[row - 1][column] + 1, table[row][-1] + 1))
    return table[-1][-1]


@given(st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=5))
def test_word_errors_are_edit_distances_and_jiwers(pairs):
    references, heard = ([" ".join(words) for words in side] for side in zip(*pairs, strict=True))
    counts = evaluation.sums(heard, references, {"loss": 3.0, "tokens": 2.0})
    assert counts["plain_errors"] == sum(edit_distance(*pair) for pair in pairs)
    shown = [
        [evaluation.tensorflow_text(text).split(" ") for text in pair]
        for pair in zip(references, heard, strict=True)
    ]
    assert counts["errors"] == sum(edit_distance(*pair) for pair in shown)
    assert counts["words"] == counts["plain_words"] + 2 * len(pairs)
    found = evaluation.metrics(counts)
    assert found["wer_plain"] == pytest.approx(jiwer.wer(references, heard))
    assert found["ctc_loss"] == 1.5


@pytest.mark.parametrize(
    ("reference", "heard", "errors", "words"),
    [
        ("HELLO WORLD", "HELLO WORLD", 0, 4),
        ("HELLO WORLD", "HELLO", 2, 4),  # b'HELLO', instead of b'HELLO, and no WORLD',
        ("HELLO WORLD", "", 2, 4),
        ("IT'S A CAT", "ITS A CAT", 2, 5),  # the quotes at both ends are others too
        ("CAT'S", "CATS", 1, 3),
        ("A B C", "A X C", 1, 5),
    ],
)
def test_official_words_are_those_of_a_tensorflow_string(reference, heard, errors, words):
    shown = [evaluation.tensorflow_text(text) for text in (heard, reference)]
    assert evaluation.word_errors([shown[0]], [shown[1]]) == (errors, words)
    assert evaluation.tensorflow_text("HELLO WORLD") == (
        "tf.Tensor(b'HELLO WORLD', shape=(), dtype=string)"
    )
    assert evaluation.tensorflow_text("IT'S") == 'tf.Tensor(b"IT\'S", shape=(), dtype=string)'


def test_no_utterances_make_no_sums():
    assert set(evaluation.sums([], [], {}).values()) == {0.0}


@pytest.mark.parametrize("name", MINIS)
def test_metrics_are_those_of_a_plain_loop(name):
    workload = workloads.get(name)
    model, _ = workload.init_model_fn(0)
    found = workload.eval_model(model, None, "train")
    count = workload.num_eval_train_examples
    rows = workload.examples["train"].rows(np.arange(count), workload.max_tokens)
    heard, said, losses = [], [], []
    model.eval()
    for row in range(count):
        audio = torch.tensor(rows["audio"][row]).float()[None]
        padding = paddings([int(rows["audio_lengths"][row])], workload.max_samples)
        with torch.no_grad():
            logits, padded = model(audio, padding)
        frames = int((1 - padded).sum())
        heard.append(list(collapsed(logits[0, :frames].argmax(-1).tolist())))
        said.append(rows["tokens"][row, : rows["tokens_lengths"][row]].tolist())
        log_probs = logits[0, :frames].log_softmax(-1)
        losses.append(
            torch.nn.functional.ctc_loss(
                log_probs, torch.tensor(said[-1]), (frames,), (len(said[-1]),), reduction="sum"
            ).item()
        )
    heard, said = map(workload.vocabulary.decode, (heard, said))
    assert found["wer_plain"] == pytest.approx(jiwer.wer(said, heard))
    assert found["ctc_loss"] == pytest.approx(sum(losses) / rows["tokens_lengths"].sum(), rel=1e-4)
    shown = [[evaluation.tensorflow_text(text) for text in texts] for texts in (said, heard)]
    assert found["wer"] == pytest.approx(jiwer.wer(*shown))
    assert found["wer"] < found["wer_plain"]


def test_running_statistics_are_averaged_for_an_evaluation_only(monkeypatch):
    model, _ = workloads.get("librispeech_conformer_mini").init_model_fn(0)
    norm = model.conformers[0].conv.bn
    norm.running_mean += 1
    monkeypatch.setattr("workloads.librispeech.layers.world", lambda: (0, 2))
    monkeypatch.setattr("torch.distributed.all_reduce", lambda buffer: buffer.add_(3.0))
    with averaged_statistics(model):
        assert (norm.running_mean == 2).all()
        assert (norm.running_var == 2).all()
    assert (norm.running_mean == 1).all()
    assert (norm.running_var == 1).all()
