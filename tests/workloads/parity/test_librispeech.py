"""librispeech's loss and its divisor, against a literal forward algorithm in float64."""

import math

import numpy as np
import pytest
import torch

import workloads

MINIS = ("librispeech_conformer_mini", "librispeech_deepspeech_mini")


@pytest.fixture(params=MINIS)
def mini(request):
    return workloads.get(request.param)


def log_sum(*terms):
    top = max(terms)
    return top if math.isinf(top) else top + math.log(sum(math.exp(t - top) for t in terms))


def ctc(logits, labels):
    """The loss of one utterance by Graves et al. 2006, eq. 6 and 7, in log space; blank is 0."""
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    path = [0]
    for label in labels:
        path += [label, 0]
    alpha = [log_probs[0, 0]] + [-math.inf] * (len(path) - 1)
    if labels:
        alpha[1] = log_probs[0, labels[0]]
    for frame in log_probs[1:]:
        before, alpha = alpha, []
        for s, label in enumerate(path):
            terms = [before[s], before[s - 1] if s > 0 else -math.inf]
            if s > 1 and label not in (0, path[s - 2]):
                terms.append(before[s - 2])
            alpha.append(log_sum(*terms) + frame[label])
    return -log_sum(*alpha[-2:])


def batch_of(lengths, frames, vocab, seed=0):
    """Targets with paddings, logits with paddings, and the transcripts as lists."""
    rng = np.random.default_rng(seed)
    transcripts = [rng.integers(1, vocab, length).tolist() for length in lengths]
    tokens, token_paddings = torch.zeros(len(lengths), max(lengths)), []
    for row, transcript in enumerate(transcripts):
        tokens[row, : len(transcript)] = torch.tensor(transcript)
        token_paddings.append([0.0] * len(transcript) + [1.0] * (max(lengths) - len(transcript)))
    logits = torch.from_numpy(rng.normal(size=(len(lengths), max(frames), vocab)))
    places = torch.arange(max(frames))
    paddings = (places >= torch.tensor(frames)[:, None]).double()
    return (tokens, torch.tensor(token_paddings)), (logits, paddings), transcripts


def reference(logits, frames, transcripts, mask):
    """AlgoPerf's loss_fn: summed, n_valid_examples, per_example."""
    losses = [
        ctc(logits[row, : frames[row]].numpy(), transcript)
        for row, transcript in enumerate(transcripts)
    ]
    if mask is None:
        count = sum(len(transcript) for transcript in transcripts)
    else:
        losses = [loss * keep for loss, keep in zip(losses, mask, strict=True)]
        count = sum(
            1 for keep, transcript in zip(mask, transcripts, strict=True) if keep and transcript
        )
    return sum(losses), max(count, 1), losses


@pytest.mark.parametrize("mask", [None, [1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
def test_the_loss_divides_by_tokens_without_a_mask_and_by_utterances_with_one(mini, mask):
    lengths, frames = [4, 2, 3, 0], [9, 5, 8, 4]
    targets, logits, transcripts = batch_of(lengths, frames, 6)
    summed, count, losses = reference(logits[0], frames, transcripts, mask)
    loss = mini.loss_fn(targets, logits, None if mask is None else torch.tensor(mask))
    np.testing.assert_allclose(loss["per_example"], losses, rtol=1e-5)
    assert loss["summed"].item() == pytest.approx(summed, rel=1e-5)
    assert loss["n_valid_examples"].item() == count
    assert count == {None: 9, 0.0: 1, 1.0: 2}[mask and mask[0]]


def test_algoperfs_golden_number_of_tokens(mini):
    targets, logits, _ = batch_of([90, 73, 56], [220, 200, 180], 8)
    assert mini.loss_fn(targets, logits)["n_valid_examples"].item() == 219
    assert mini.loss_fn(targets, logits, torch.ones(3))["n_valid_examples"].item() == 3


def test_ctc_loss_is_a_mean_over_tokens(mini):
    """On the complete split, utterance by utterance."""
    model, _ = mini.init_model_fn(0)
    found = mini.eval_model(model, None, "validation")["ctc_loss"]
    utterances = mini.examples["validation"]
    count = len(utterances)
    rows = utterances.rows(np.arange(count), mini.max_tokens)
    total = tokens = 0.0
    model.eval()
    for row in range(count):
        samples = int(rows["audio_lengths"][row])
        audio = torch.tensor(rows["audio"][row]).float()[None]
        padding = (torch.arange(audio.shape[1]) >= samples).float()[None]
        with torch.no_grad():
            logits, padded = model(audio, padding)
        frames, length = int((1 - padded).sum()), int(rows["tokens_lengths"][row])
        labels = rows["tokens"][row, :length].tolist()
        if row < 8:  # the literal algorithm on a few, torch's on the rest
            total += ctc(logits[0, :frames].double().numpy(), labels)
        else:
            total += torch.nn.functional.ctc_loss(
                logits[0, :frames].log_softmax(-1),
                torch.tensor(labels),
                (frames,),
                (length,),
                reduction="sum",
            ).item()
        tokens += length
    assert found == pytest.approx(total / tokens, rel=1e-4)
