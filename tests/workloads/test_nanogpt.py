"""nanogpt: the model, its loss, token frequencies, and the language of the mini."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

import workloads
from harness.spec import ForwardPassMode, ParameterType
from tests.fixtures.nanogpt import write_files
from tests.workloads.official import two_steps
from workloads import language
from workloads.gpt import GPT, Config
from workloads.language import Language
from workloads.nanogpt.task import deciles

TINY = Config(vocab_size=50, context=12, layers=2, heads=2, width=16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(TINY)


@pytest.fixture(scope="module")
def mini():
    return workloads.get("nanogpt_mini")


def test_parameters_are_those_of_gpt2_small():
    with torch.device("meta"):
        shapes = {name: list(p.shape) for name, p in GPT(Config()).named_parameters()}
    block = {
        "ln_1.weight": [768], "ln_1.bias": [768],
        "attn.c_attn.weight": [2304, 768], "attn.c_attn.bias": [2304],
        "attn.c_proj.weight": [768, 768], "attn.c_proj.bias": [768],
        "ln_2.weight": [768], "ln_2.bias": [768],
        "mlp.c_fc.weight": [3072, 768], "mlp.c_fc.bias": [3072],
        "mlp.c_proj.weight": [768, 3072], "mlp.c_proj.bias": [768],
    }  # fmt: skip
    expected = {"transformer.wte.weight": [50304, 768], "transformer.wpe.weight": [1024, 768]}
    for layer in range(12):
        expected |= {f"transformer.h.{layer}.{name}": shape for name, shape in block.items()}
    expected |= {"transformer.ln_f.weight": [768], "transformer.ln_f.bias": [768]}
    assert shapes == expected
    assert sum(np.prod(shape) for shape in shapes.values()) == 124_475_904


def test_types_and_the_head():
    workload = workloads.get("nanogpt")
    types = workload.model_params_types
    attention = "transformer.h.3.attn."
    assert types["transformer.wte.weight"] is ParameterType.EMBEDDING
    assert types[f"{attention}c_attn.weight"] is ParameterType.ATTENTION_QKV
    assert types[f"{attention}c_proj.weight"] is ParameterType.ATTENTION_OUT
    assert types[f"{attention}c_attn.bias"] is ParameterType.ATTENTION_BIAS
    assert types["transformer.h.3.mlp.c_fc.weight"] is ParameterType.WEIGHT
    assert types["transformer.h.3.ln_2.weight"] is ParameterType.LAYER_NORM_SCALE
    assert [n for n in types if workload.is_output_params(n)] == ["transformer.wte.weight"]


def test_initialisation_is_gpt2s():
    torch.manual_seed(0)
    model = GPT(Config(vocab_size=500, context=64, layers=8, heads=2, width=128))
    assert model.lm_head.weight is model.transformer.wte.weight
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif "ln_" in name:
            assert (parameter == 1).all()
        else:
            std = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.03), name
            assert abs(parameter.mean().item()) < 5 * std / parameter.numel() ** 0.5


def test_logits_are_those_of_torchs_own_transformer(model):
    nn.init.normal_(model.transformer.h[1].attn.c_attn.bias)
    nn.init.normal_(model.transformer.h[0].mlp.c_fc.bias)
    tokens = torch.randint(50, (3, 12))
    x = model.transformer.wte(tokens) + model.transformer.wpe.weight
    for block in model.transformer.h:
        layer = nn.TransformerEncoderLayer(
            16, 2, 64, dropout=0.0, activation=partial(F.gelu, approximate="tanh"),
            batch_first=True, norm_first=True,
        )  # fmt: skip
        ours = {
            "self_attn.in_proj_": block.attn.c_attn, "self_attn.out_proj.": block.attn.c_proj,
            "linear1.": block.mlp.c_fc, "linear2.": block.mlp.c_proj,
            "norm1.": block.ln_1, "norm2.": block.ln_2,
        }  # fmt: skip
        layer.load_state_dict(
            {
                f"{name}{key}": getattr(m, key)
                for name, m in ours.items()
                for key in ("weight", "bias")
            }
        )
        x = layer(x, nn.Transformer.generate_square_subsequent_mask(12), is_causal=True)
    expected = model.transformer.ln_f(x) @ model.transformer.wte.weight.T
    torch.testing.assert_close(model(tokens), expected, rtol=1e-4, atol=1e-5)


def test_no_token_sees_a_later_one(model):
    tokens = torch.randint(50, (2, 12))
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 50
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.isclose(before[:, 7:], after[:, 7:]).all(-1).any()


def test_dropout_acts_in_training_alone(mini):
    model, _ = mini.init_model_fn(0)
    batch = next(mini.build_input_queue(0, "train", 4))
    forward = partial(
        mini.model_fn, params=model, augmented_and_preprocessed_input_batch=batch,
        model_state=None, rng=(0, 0), update_batch_norm=True,
    )  # fmt: skip
    plain, _ = forward(mode=ForwardPassMode.TRAIN)
    dropped, _ = forward(mode=ForwardPassMode.TRAIN, dropout_rate=0.3)
    evaluated, _ = forward(mode=ForwardPassMode.EVAL, dropout_rate=0.3)
    assert not torch.allclose(plain, dropped)
    torch.testing.assert_close(plain.detach(), evaluated)


def test_the_loss_is_the_cross_entropy_of_tokens(mini):
    logits = torch.randn(4, 32, language.VOCABULARY)
    labels = torch.randint(language.VOCABULARY, (4, 32))
    for smoothing in (0.0, 0.1):
        loss = mini.loss_fn(labels, logits, label_smoothing=smoothing)
        expected = F.cross_entropy(logits.transpose(1, 2), labels, label_smoothing=smoothing)
        torch.testing.assert_close(loss["summed"] / loss["n_valid_examples"], expected)
        torch.testing.assert_close(loss["per_example"].sum(), loss["summed"])


def test_deciles_are_tenths_of_the_text_by_frequency():
    counts = np.random.default_rng(0).zipf(1.5, 1000).clip(max=200)
    counts[7] = 0
    groups = deciles(counts)
    order = np.argsort(-counts, kind="stable")
    assert (np.diff(groups[order]) >= 0).all()
    assert set(groups) == set(range(1, 11))
    assert groups[7] == 10  # of tokens that are not there
    shares = [counts[groups == group].sum() / counts.sum() for group in range(1, 11)]
    assert np.cumsum(shares) == pytest.approx(np.arange(1, 11) / 10, abs=0.01)


def test_losses_by_decile_add_up_to_the_loss(mini):
    model, _ = mini.init_model_fn(0)
    metrics = mini.eval_model(model, None, "validation")
    groups = deciles(np.bincount(mini.training_tokens(), minlength=language.VOCABULARY))
    targets = mini.examples["validation"]["targets"]
    counts = np.bincount(groups[targets.flatten().numpy()], minlength=11)[1:]
    by_decile = [metrics[f"loss_decile_{number}"] for number in range(1, 11)]
    assert np.average(by_decile, weights=counts) == pytest.approx(metrics["loss"], rel=1e-6)
    with torch.no_grad():
        logits = model(mini.examples["validation"]["inputs"][:500])
    rare = torch.from_numpy(groups)[targets] == 10
    expected = F.cross_entropy(logits[rare], targets[rare])
    assert by_decile[9] == pytest.approx(expected.item(), rel=1e-5)
    assert not [name for name in metrics if name.startswith("count")]


def test_the_invented_language_follows_zipfs_law():
    tokens = Language(1).tokens(200_000)
    assert np.array_equal(tokens, Language(1).tokens(200_000))
    assert not np.array_equal(tokens, Language(2).tokens(200_000))
    nouns = np.bincount(tokens[(tokens >= 64) & (tokens < 2064)] - 64, minlength=2000)
    frequencies = np.sort(nouns)[::-1]
    ranks = np.arange(20, 1000)
    slope, _ = np.polyfit(np.log(ranks), np.log(frequencies[ranks]), 1)
    assert -1.3 < slope < -0.7


def test_its_articles_and_adjectives_agree_with_their_nouns():
    tokens = Language(3).tokens(5000).tolist()
    noun = range(64, 2064)
    adjective = range(64 + 2000 + 992, 64 + 2000 + 992 + 704)
    phrases = 0
    for before, word, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if before in range(8, 16) and word in adjective and after in noun:
            assert before % 4 == word % 4 == after * 7 // 3 % 4
            phrases += 1
    assert phrases > 50


@pytest.mark.slow
def test_the_official_model_trains_from_its_files(tmp_path):
    rows = two_steps("nanogpt", write_files(tmp_path, tokens=4 * 1024 + 1), batch_size=1)
    assert 10 < rows[0]["validation/loss"] < 12  # that of an even guess is 10.8
    assert "test/loss" in rows[-1]
