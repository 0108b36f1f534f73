"""finewebedu_lm: the model and its loss against literal float64 arithmetic, and the mini."""

import math

import numpy as np
import pytest
import torch

import workloads
from harness.spec import ForwardPassMode, ParameterType
from tests.fixtures.finewebedu_lm import write_folders
from tests.workloads.official import two_steps
from workloads.finewebedu_lm.model import Config, Decoder

TINY = Config(vocab_size=50, context=12, layers=2, heads=2, width=16, hidden=24)


@pytest.fixture(scope="module")
def mini():
    return workloads.get("finewebedu_lm_mini")


def literal_logits(weights, tokens, config):
    """The decoder, position by position and head by head, in float64."""
    size = config.width // config.heads

    def norm(x, weight):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight

    def rotate(vector, position):
        out = torch.empty_like(vector)
        for pair in range(size // 2):
            angle = position * 500_000 ** (-2 * pair / size)
            even, odd = vector[2 * pair], vector[2 * pair + 1]
            out[2 * pair] = even * math.cos(angle) - odd * math.sin(angle)
            out[2 * pair + 1] = even * math.sin(angle) + odd * math.cos(angle)
        return out / out.norm() + 1e-6

    def attention(x, name):
        queries, keys, values = (x @ weights[f"{name}.w_qkv.weight"].T).split(config.width, -1)
        mixed = []
        for head in range(config.heads):
            mine = slice(head * size, (head + 1) * size)
            q = [rotate(row[mine], t) for t, row in enumerate(queries)]
            k = [rotate(row[mine], t) for t, row in enumerate(keys)]
            rows = []
            for t in range(len(x)):
                scores = torch.stack(
                    [q[t] @ k[s] * weights[f"{name}.attn_scale"] for s in range(t + 1)]
                )
                rows.append(scores.softmax(0) @ values[: t + 1, mine])
            mixed.append(torch.stack(rows))
        return torch.cat(mixed, -1) @ weights[f"{name}.w_out.weight"].T

    def mlp(x, name):
        value, gate = (x @ weights[f"{name}.fc1.weight"].T).chunk(2, -1)
        return (value * torch.sigmoid(gate)) @ weights[f"{name}.fc2.weight"].T

    logits = []
    for sequence in tokens:
        x = weights["embed_tokens.weight"][sequence]
        for number in range(config.layers):
            name = f"layers.{number}"
            x = x + attention(norm(x, weights[f"{name}.attn_norm.weight"]), f"{name}.attn")
            x = x + mlp(norm(x, weights[f"{name}.mlp_norm.weight"]), f"{name}.mlp")
        x = norm(x, weights["out_norm.weight"])
        logits.append(x @ weights["embed_tokens.weight"].T)
    return torch.stack(logits)


def test_logits_and_gradients_are_those_of_literal_arithmetic():
    torch.manual_seed(0)
    model = Decoder(TINY)
    for name, parameter in model.named_parameters():  # of a size at which everything matters
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
        elif "norm" in name:
            torch.nn.init.normal_(parameter, mean=1, std=0.2)
    weights = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}
    tokens, targets = torch.randint(50, (2, 2, 12))
    expected = literal_logits(weights, tokens, TINY)
    logits = model(tokens)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    torch.nn.functional.cross_entropy(expected.flatten(0, 1), targets.flatten()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad.double(), weights[name].grad, rtol=1e-3, atol=1e-6, msg=name
        )


def test_parameters_are_algoperfs():
    workload = workloads.get("finewebedu_lm")
    with torch.device("meta"):
        model = workload.build_model()
    shapes = {name: list(p.shape) for name, p in model.named_parameters()}
    expected = {"embed_tokens.weight": [50257, 1024]}
    for number in range(12):
        expected |= {
            f"layers.{number}.attn.attn_scale": [],
            f"layers.{number}.attn.w_qkv.weight": [3072, 1024],
            f"layers.{number}.attn.w_out.weight": [1024, 1024],
            f"layers.{number}.attn_norm.weight": [1024],
            f"layers.{number}.mlp.fc1.weight": [8192, 1024],
            f"layers.{number}.mlp.fc2.weight": [1024, 4096],
            f"layers.{number}.mlp_norm.weight": [1024],
        }
    expected["out_norm.weight"] = [1024]
    assert list(shapes.items()) == list(expected.items())
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == 252_815_372
    assert [name for name, _ in model.named_buffers()] == ["freqs_cis"]
    assert "freqs_cis" not in model.state_dict()
    types = workload.model_params_types
    assert types["embed_tokens.weight"] is ParameterType.EMBEDDING
    assert types["layers.3.attn.w_qkv.weight"] is ParameterType.ATTENTION_QKV
    assert types["layers.3.attn.w_out.weight"] is ParameterType.ATTENTION_OUT
    assert types["layers.3.attn.attn_scale"] is ParameterType.WEIGHT
    assert types["layers.3.attn_norm.weight"] is ParameterType.LAYER_NORM_SCALE
    assert types["layers.3.mlp.fc1.weight"] is ParameterType.WEIGHT
    assert workload.is_output_params("lm_head.weight")
    assert not any(workload.is_output_params(name) for name in types)  # the head is tied


def test_initialisation_is_algoperfs():
    torch.manual_seed(0)
    model = Decoder(Config(vocab_size=500, context=64, layers=8, heads=2, width=128, hidden=256))
    assert model.lm_head.weight is model.embed_tokens.weight
    for name, parameter in model.named_parameters():
        if name.endswith("attn_scale"):
            assert parameter.item() == pytest.approx(math.log2(64**2 - 64))
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            std = 0.02 / 4 if name.endswith(("fc2.weight", "w_out.weight")) else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.03), name
            assert abs(parameter.mean().item()) < 5 * std / parameter.numel() ** 0.5


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_a_sum_over_tokens(mini, smoothing, weighted):
    logits = torch.randn(3, 5, 7)
    labels = torch.randint(7, (3, 5))
    weights = torch.rand(3, 5).round(decimals=1) if weighted else None
    loss = mini.loss_fn(labels, logits, weights, smoothing)
    expected = torch.zeros(3, 5, dtype=torch.float64)
    for b in range(3):
        for t in range(5):
            shares = logits[b, t].double().exp() / logits[b, t].double().exp().sum()
            wanted = torch.full((7,), smoothing / 7, dtype=torch.float64)
            wanted[labels[b, t]] += 1 - smoothing
            expected[b, t] = -(wanted * shares.log()).sum() * (
                1 if weights is None else weights[b, t]
            )
    torch.testing.assert_close(loss["per_example"].double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss["summed"].double(), expected.sum(), rtol=1e-5, atol=1e-6)
    assert loss["n_valid_examples"].item() == pytest.approx(
        15 if weights is None else weights.sum().item()
    )


def test_model_and_loss_run_under_bfloat16_autocast(tmp_path):
    workload = workloads.get("finewebedu_lm", write_folders(tmp_path))
    workload.config = Config(vocab_size=50, context=12, layers=1, heads=2, width=16, hidden=24)
    model, _ = workload.init_model_fn(0)
    tokens = torch.randint(50, (2, 12))
    logits, _ = workload.model_fn(
        model, {"inputs": tokens}, None, ForwardPassMode.TRAIN, (0, 0), True
    )
    assert logits.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in model.parameters())
    loss = workload.loss_fn(tokens, logits)
    assert loss["summed"].dtype == loss["per_example"].dtype == torch.float32
    loss["summed"].backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_perplexity_is_the_exponential_of_the_loss_per_token(mini):
    model, _ = mini.init_model_fn(0)
    metrics = mini.eval_model(model, None, "validation")
    split = mini.examples["validation"]
    with torch.no_grad():
        logits = model(split["inputs"]).double()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), split["targets"].flatten())
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-6)
    assert metrics["ppl"] == pytest.approx(math.exp(expected.item()), rel=1e-5)
    assert set(metrics) == {"loss", "ppl"}
    with torch.no_grad():
        model.out_norm.weight.fill_(1e6)  # a loss whose exponential is beyond float64
    assert mini.eval_model(model, None, "validation")["ppl"] == math.inf
    with torch.no_grad():
        model.out_norm.weight.fill_(np.nan)
    assert math.isnan(mini.eval_model(model, None, "validation")["ppl"])


def test_the_mini_speaks_the_language_of_nanogpt_mini(mini):
    ours, theirs = (
        workloads.get(name).examples["train"] for name in ("finewebedu_lm_mini", "nanogpt_mini")
    )
    text = torch.cat([ours["inputs"], ours["targets"][:, -1:]], 1).flatten()
    other = theirs["inputs"].flatten()
    assert torch.equal(text[: len(other)], other)


@pytest.mark.slow
def test_the_official_model_trains_from_its_files(tmp_path):
    rows = two_steps("finewebedu_lm", write_folders(tmp_path), batch_size=1)
    assert 10 < rows[0]["validation/loss"] < 12  # that of an even guess is 10.8
    assert rows[0]["validation/ppl"] == pytest.approx(math.exp(rows[0]["validation/loss"]))
    assert not [name for name in rows[-1] if name.startswith("test/")]
