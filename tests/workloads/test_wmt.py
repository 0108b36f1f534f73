"""wmt: its model, loss and evaluation."""

import itertools
import math
import time
from dataclasses import replace

import numpy as np
import pytest
import sacrebleu
import torch
from torch import nn

import workloads
from harness.spec import ForwardPassMode
from tests.fixtures.wmt import USED, write_files
from workloads import distributed
from workloads.wmt import evaluation, task
from workloads.wmt.layers import Config
from workloads.wmt.model import Transformer

TABLE = {  # parameters, tensors, norms among them, weights and biases of feed-forward blocks
    "wmt": (133_521_408, 155, 64, 48),
    "wmt_post_ln": (133_517_312, 151, 60, 48),
    "wmt_attention_temp": (133_521_408, 155, 64, 48),
    "wmt_glu_tanh": (146_116_608, 179, 64, 72),
}
SMALL = Config(vocab_size=40, d_model=16, heads=4, feed_forward=24, layers=2, max_length=12)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("wmt"))
    workloads.get("wmt", folder).prepare_data()
    return folder


@pytest.fixture(scope="module")
def mini():
    return workloads.get("wmt_mini")


def on_meta(name):
    with torch.device("meta"):
        return workloads.get(name).build_model()


def model_of(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return Transformer(config)


def sentences(lengths, width, seed=0, vocab=40):
    """Random tokens [B, width] without PAD or EOS, 0 after the given lengths."""
    tokens = torch.randint(3, vocab, (len(lengths), width), generator=torch.manual_seed(seed))
    return tokens * (torch.arange(width) < torch.tensor(lengths)[:, None])


@pytest.mark.parametrize("name", TABLE)
def test_models_have_the_official_parameters(name):
    model = on_meta(name)
    types = [kind.name for kind in workloads.get(name).model_params_types.values()]
    count = sum(parameter.numel() for parameter in model.parameters())
    norms = sum(kind.startswith("LAYER_NORM") for kind in types)
    blocks = sum(kind in ("WEIGHT", "BIAS") for kind in types)
    assert (count, len(types), norms, blocks) == TABLE[name]
    attention = ["ATTENTION_QKV", "ATTENTION_OUT", "ATTENTION_Q", "ATTENTION_KV", "EMBEDDING"]
    assert [types.count(kind) for kind in attention] == [12, 18, 6, 6, 1]
    assert [(n, list(b.shape)) for n, b in model.named_buffers()] == [
        ("pos_encoder.pe", [1, 256, 1024])
    ]


def test_official_weights_load_strictly_whether_shared_ones_are_repeated_or_not():
    state = model_of(seed=1).state_dict()
    repeated = dict(state)
    for part in ("encoder", "decoder"):
        for name in ("shared_embedding.weight", "pos_encoder.pe"):
            repeated[f"{part}.{name}"] = state[name]
    for given in (state, repeated):
        model = model_of(seed=2)
        model.load_state_dict(given, strict=True)
        assert all(torch.equal(model.state_dict()[name], state[name]) for name in state)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model.load_state_dict({**state, "encoder.other": torch.zeros(1)}, strict=True)


def test_weights_start_as_algoperfs_do():
    model = model_of(Config(vocab_size=500, d_model=64, heads=4, feed_forward=256, layers=2))
    for name, parameter in model.named_parameters():
        if name == "shared_embedding.weight":
            assert parameter.std().item() == pytest.approx(1, rel=0.02)
            assert parameter.mean().item() == pytest.approx(0, abs=0.02)
        elif "norm" in name:
            assert torch.equal(parameter, torch.full_like(parameter, float("weight" in name)))
        elif name.endswith("bias"):
            assert parameter.std().item() == pytest.approx(1e-6, rel=0.3)
        else:  # uniform, its bound made of both sides of the whole matrix
            bound = math.sqrt(6 / sum(parameter.shape))
            assert 0.97 * bound < parameter.abs().max().item() <= bound
            assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_positions_are_sines_then_cosines():
    table = model_of(replace(SMALL, d_model=12)).pos_encoder.pe[0].double().numpy()
    for position, i in itertools.product(range(12), range(6)):
        angle = position / 10000 ** (i / 5)
        assert table[position, i] == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[position, 6 + i] == pytest.approx(math.cos(angle), abs=1e-5)


def torchs_own(model, *, post_norm, temperature, activation):
    """The same function of torch's own Transformer layers, on one sentence pair without padding."""
    options = {
        "d_model": 16, "nhead": 4, "dim_feedforward": 24, "dropout": 0.0, "layer_norm_eps": 1e-6,
        "batch_first": True, "norm_first": not post_norm, "activation": activation,
    }  # fmt: skip
    stacks = []
    for kind, stack in (
        (nn.TransformerEncoderLayer, model.encoder.encoder),
        (nn.TransformerDecoderLayer, model.decoder.decoder),
    ):
        layers = []
        for ours in stack.layers:
            theirs = kind(**options)
            state = {n: torch.zeros_like(p) for n, p in theirs.state_dict().items()}
            for name, value in ours.state_dict().items():
                state[name.replace("in_proj.weight", "in_proj_weight")] = value.clone()
            if "multihead_attn.q_proj.weight" in state:
                parts = [state.pop(f"multihead_attn.{n}_proj.weight") for n in ("q", "kv")]
                state["multihead_attn.in_proj_weight"] = torch.cat(parts)
            for name in state:
                if name.endswith("in_proj_weight"):
                    state[name][:16] *= temperature
            theirs.load_state_dict(state)
            layers.append(theirs)
        stacks.append(layers)

    def forward(inputs, targets):
        positions, table = model.pos_encoder.pe[0], model.shared_embedding.weight
        memory = table[inputs] + positions[: inputs.shape[1]]
        for layer in stacks[0]:
            memory = layer(memory)
        if not post_norm:
            memory = model.encoder.encoder.norm(memory)
        shifted = torch.cat([torch.zeros_like(targets[:, :1]), targets[:, :-1]], dim=1)
        x = table[shifted] + positions[: targets.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(targets.shape[1])
        for layer in stacks[1]:
            x = layer(x, memory, tgt_mask=mask)
        if not post_norm:
            x = model.decoder.decoder.norm(x)
        return x @ table.T / 4

    return forward


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"post_norm": True},
        {"attention_temperature": 4.0},
        {"activation": torch.tanh},
    ],
)
def test_logits_are_those_of_torchs_own_layers_and_padding_changes_nothing(changes):
    model = model_of(replace(SMALL, **changes))
    inputs, targets = sentences([7, 4], 7), sentences([5, 6], 6, seed=1)
    theirs = torchs_own(
        model,
        post_norm="post_norm" in changes,
        temperature=changes.get("attention_temperature", 1.0),
        activation=changes.get("activation", torch.relu),
    )
    with torch.no_grad():
        logits = model(inputs, targets, dropout_rate=0.0)
        for row, (source, target) in enumerate([(7, 5), (4, 6)]):
            expected = theirs(inputs[row : row + 1, :source], targets[row : row + 1, :target])
            torch.testing.assert_close(logits[row, :target], expected[0], rtol=1e-4, atol=1e-5)


def test_a_gated_block_multiplies_by_a_second_projection():
    layer = model_of(replace(SMALL, gated=True, activation=torch.tanh)).encoder.encoder.layers[0]
    x = torch.randn(2, 3, 16)
    gate = x @ layer.linear_glu.weight.T + layer.linear_glu.bias
    hidden = torch.tanh(x @ layer.linear1.weight.T + layer.linear1.bias) * gate
    expected = hidden @ layer.linear2.weight.T + layer.linear2.bias
    torch.testing.assert_close(layer._feed_forward(x, 0.0), expected)


def test_sentences_of_a_packed_row_do_not_see_each_other():
    model = model_of()
    lengths = [(5, 3), (4, 6), (3, 2)]
    inputs = [sentences([s], s, seed=s) for s, _ in lengths]
    targets = [sentences([t], t, seed=10 + t) for _, t in lengths]
    packed = {}
    for name, parts in (("inputs", inputs), ("targets", targets)):
        rows = [torch.cat(parts[:2], dim=1), parts[2]]
        packed[name] = torch.stack([nn.functional.pad(r[0], (0, 12 - r.shape[1])) for r in rows])
        counts = [[p.shape[1] for p in parts[:2]], [parts[2].shape[1]]]
        packed[f"{name}_position"] = torch.zeros(2, 12, dtype=torch.long)
        packed[f"{name}_segmentation"] = torch.zeros(2, 12, dtype=torch.long)
        for row, of_row in enumerate(counts):
            place = 0
            for number, count in enumerate(of_row, start=1):
                here = slice(place, place + count)
                packed[f"{name}_position"][row, here] = torch.arange(count)
                packed[f"{name}_segmentation"][row, here] = number
                place += count
    with torch.no_grad():
        logits = model(**packed, dropout_rate=0.0)
        first, third = (model(inputs[n], targets[n], dropout_rate=0.0)[0] for n in (0, 2))
        # All that a later sentence depends on beside itself is the last token before it.
        changed = {name: tensor.clone() for name, tensor in packed.items()}
        changed["inputs"][0, :5], changed["targets"][0, :2] = 33, 34
        again = model(**changed, dropout_rate=0.0)
    torch.testing.assert_close(logits[0, :3], first, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[1, :2], third, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(again[0, :3], logits[0, :3])
    torch.testing.assert_close(again[0, 3:9], logits[0, 3:9], rtol=1e-4, atol=1e-5)


def forward(workload, model, batch, mode=ForwardPassMode.TRAIN, **options):
    logits, state = workload.model_fn(
        params=model, augmented_and_preprocessed_input_batch=batch, model_state=None, mode=mode,
        rng=(0, 0), update_batch_norm=True, **options,
    )  # fmt: skip
    assert state is None
    return logits


def test_dropout_follows_the_rate_given_and_the_mode(mini):
    model, _ = mini.init_model_fn(0)
    batch = next(mini.build_input_queue(0, "train", 4))
    plain = forward(mini, model, batch, ForwardPassMode.EVAL, dropout_rate=0.5)
    assert not model.training
    assert not plain.requires_grad
    again = forward(mini, model, batch, dropout_rate=0.0)
    assert model.training  # AlgoPerf leaves this to the submission
    torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-5)
    dropped = [forward(mini, model, batch, dropout_rate=rate) for rate in (0.1, 0.1, 0.9)]
    assert not torch.equal(dropped[0], dropped[1])
    changed = [(logits - plain).abs().mean().item() for logits in dropped]
    assert 0 < changed[0] < changed[2]


def test_the_default_rate_is_the_workloads(mini, monkeypatch):
    assert workloads.get("wmt").dropout_rate == 0.1
    model, _ = mini.init_model_fn(0)
    batch = next(mini.build_input_queue(0, "train", 4))
    monkeypatch.setattr(mini, "dropout_rate", 0.3)
    torch.manual_seed(0)
    first = forward(mini, model, batch)
    torch.manual_seed(0)
    assert torch.equal(first, forward(mini, model, batch, dropout_rate=0.3))


def naive_loss(logits, targets, smoothing):
    """Loss [B, T] in float64, of padding too."""
    logits = logits.double().numpy()
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = np.zeros(targets.shape)
    for b, t in np.ndindex(*targets.shape):
        right, others = log_probs[b, t, targets[b, t].item()], log_probs[b, t].mean()
        loss[b, t] = -(1 - smoothing) * right - smoothing * others
    return loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_cross_entropy_of_the_tokens_that_the_mask_keeps(mini, smoothing):
    targets = sentences([5, 2, 4], 6, vocab=9)
    logits = torch.randn(3, 6, 9, generator=torch.manual_seed(0)).requires_grad_()
    expected = naive_loss(logits.detach(), targets, smoothing)
    masks = [None, (targets > 0).float(), torch.ones(3, 6), torch.zeros(3, 6)]
    masks.append(torch.tensor([1.0, 0.0, 1.0])[:, None].expand(3, 6))
    for mask in masks:
        loss = mini.loss_fn(targets, logits, mask, label_smoothing=smoothing)
        kept = np.ones((3, 6)) if mask is None else mask.numpy()
        np.testing.assert_allclose(loss["per_example"].detach(), expected * kept, atol=1e-6)
        assert loss["summed"].item() == pytest.approx((expected * kept).sum(), rel=1e-6)
        assert loss["n_valid_examples"].item() == kept.sum()
    (gradient,) = torch.autograd.grad(loss["summed"], logits)
    assert not gradient[1].any()
    assert gradient[0].any()


def test_bleu_is_that_of_the_golden_example_and_adds_up():
    texts = ["the cat sat on the mat .", "hello world, this is fine."]
    references = ["the cat sat on a mat.", "hello world, that is fine."]
    golden = 41.11336169
    whole = evaluation.bleu_sums(texts, references)
    assert evaluation.bleu(whole) == pytest.approx(golden, abs=1e-7)
    halves = [evaluation.bleu_sums([t], [r]) for t, r in zip(texts, references, strict=True)]
    assert {name: halves[0][name] + halves[1][name] for name in whole} == whole
    assert evaluation.bleu(evaluation.bleu_sums(["", ""], references)) == 0


def test_a_text_ends_at_its_first_eos_or_else_after_one_token():
    assert evaluation.until_eos([7, 2, 8, 2]) == [7, 2]
    assert evaluation.until_eos([2, 5]) == [2]
    assert evaluation.until_eos([7, 8, 9]) == [7]


def wrong_at_first(inputs, targets):
    """Logits that are sure of the right token, but at the first one of token 1."""
    guesses = targets.clone()
    guesses[:, 0] = 1
    return 10.0 * nn.functional.one_hot(guesses, 512).float()


def test_metrics_are_those_of_the_translations_and_of_sacrebleu(monkeypatch, mini):
    vocabulary = mini.preparation().vocabulary()
    lines = ["the cuth did not roth some cuths .", "a b c d", "some of the things are lost ."]
    rows = [torch.tensor(tokens) for tokens in vocabulary.encode(lines)]
    lengths = np.array([len(row) for row in rows])
    targets = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    translations = targets.clone()
    translations[0, 2] = 40  # one wrong token
    translations[2, lengths[2] - 1 :] = 40  # no EOS
    monkeypatch.setattr(evaluation, "translate", lambda model, inputs: translations)
    batch = {"inputs": targets, "targets": targets}
    found = evaluation.metrics(evaluation.sums(wrong_at_first, [batch], vocabulary))
    wrong, right, first, everything = vocabulary.decode(
        [
            translations[0].tolist()[: lengths[0]],
            rows[1].tolist(),
            translations[2].tolist()[:1],
            translations[2].tolist(),
        ]
    )
    for name, last in (("bleu", first), ("bleu_uncut", everything)):
        expected = sacrebleu.corpus_bleu([wrong, right, last], [lines], force=True).score
        assert found[name] == pytest.approx(expected)
    assert found["bleu_uncut"] > found["bleu"] > 0
    count = int(lengths.sum())
    assert found["accuracy"] == pytest.approx((count - 3) / count)
    log_sum = math.log(math.exp(10) + 511)
    assert found["loss"] == pytest.approx(log_sum - 10 * (count - 3) / count, rel=1e-5)


@pytest.mark.parametrize(("batch_size", "processes"), [(1, 1), (2, 1), (64, 1), (3, 2), (2, 7)])
def test_every_pair_is_evaluated_once(files, monkeypatch, batch_size, processes):
    workload = workloads.get("wmt", files)
    workload.eval_batch_size = batch_size
    seen = []

    def sums(model, batches, vocabulary):
        for batch in batches:
            assert len(batch["inputs"]) <= batch_size
            seen.extend(row[row > 0].tolist() for row in batch["targets"])
        return {}

    monkeypatch.setattr(evaluation, "sums", sums)
    monkeypatch.setattr(evaluation, "metrics", dict)
    monkeypatch.setattr(task, "summed", lambda values, device: values)
    for split, count in (("validation", 4), ("test", 3), ("train", USED)):
        seen.clear()
        for rank in range(processes):
            monkeypatch.setattr(task, "world", lambda rank=rank: (rank, processes))
            workload.eval_model(model_of(), None, split)
        pairs = workload.examples[split]
        expected = [pairs.padded(np.array([i]))["targets"][0] for i in range(count)]
        assert sorted(seen) == sorted(row[row > 0].tolist() for row in expected)


def test_evaluation_of_a_share_without_sentences_adds_nothing(mini):
    nothing = evaluation.sums(model_of(), [], mini.preparation().vocabulary())
    assert nothing == dict.fromkeys(evaluation.SUMS, 0.0)


def test_evaluation_leaves_the_model_as_it_was_and_ignores_its_batch_size(mini, monkeypatch):
    model, _ = mini.init_model_fn(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    monkeypatch.setattr(mini, "num_eval_train_examples", 20)
    results = []
    for size in (20, 7):
        monkeypatch.setattr(mini, "eval_batch_size", size)
        model.train(size == 7)
        results.append(mini.eval_model(model, None, "train"))
        assert model.training == (size == 7)
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    assert set(results[0]) == {"bleu", "bleu_uncut", "accuracy", "loss"}
    assert all(torch.equal(value, before[n]) for n, value in model.state_dict().items())


def test_wrapped_models_are_evaluated_too(mini, monkeypatch):
    monkeypatch.setattr(mini, "num_eval_train_examples", 2)
    model, _ = mini.init_model_fn(0)
    plain = mini.eval_model(model, None, "train")
    wrapped = nn.DataParallel(nn.ModuleDict({"_orig_mod": model}))  # as torch.compile and DDP do
    assert mini.eval_model(wrapped, None, "train") == plain


def test_steps_lower_the_loss_and_the_pipeline_keeps_ahead_of_them(mini):
    model, _ = mini.init_model_fn(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    queue = mini.build_input_queue(0, "train", mini.train_batch_size)
    losses, waiting, stepping = [], 0.0, 0.0
    for _ in range(40):
        began = time.process_time()
        batch = next(queue)
        ready = time.process_time()
        loss = mini.loss_fn(batch["targets"], forward(mini, model, batch), batch["weights"])
        optimizer.zero_grad()
        loss["summed"].backward(gradient=loss["n_valid_examples"].reciprocal())
        optimizer.step()
        losses.append((loss["summed"] / loss["n_valid_examples"]).item())
        waiting += ready - began
        stepping += time.process_time() - ready
    assert losses[-1] < 0.8 * losses[0]
    assert stepping > 3 * waiting


def test_variants_belong_to_no_suite_and_share_the_data(files):
    assert workloads.get("wmt").suites == ("algoperf", "qualification")
    for name in TABLE:
        workload = workloads.get(name, files)
        workload.check_data()
        assert workload.compile_model
        assert len(workload.examples["train"]) == USED
        assert name == "wmt" or workload.suites == ()


def test_a_batch_that_cannot_be_shared_out_evenly_is_refused(mini, monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: (0, 3))
    with pytest.raises(ValueError, match="shared out evenly"):
        mini.build_input_queue(0, "train", 4)


@pytest.mark.slow
def test_the_official_model_trains_on_files(files):
    workload = workloads.get("wmt", files)
    model, _ = workload.init_model_fn(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = next(workload.build_input_queue(0, "train", 2))
    losses = []
    for _ in range(3):
        loss = workload.loss_fn(batch["targets"], forward(workload, model, batch), batch["weights"])
        losses.append((loss["summed"] / loss["n_valid_examples"]).item())
        optimizer.zero_grad()
        (loss["summed"] / loss["n_valid_examples"]).backward()
        optimizer.step()
    assert losses[2] < losses[1] < losses[0]
    assert math.isfinite(workload.eval_model(model, None, "test")["bleu"])
