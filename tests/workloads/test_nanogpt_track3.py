"""nanogpt_track3: its model against a literal one in float64, micro-batches, order and data."""

import copy
import gc
import math

import numpy as np
import pytest
import torch
from torch import distributed
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.nn.parallel import DistributedDataParallel

import workloads
from harness.spec import DataError, ParameterType
from harness.testing.workload import loss_of
from tests.fixtures.nanogpt import write_files, write_shard
from tests.workloads.official import two_steps
from workloads.nanogpt.track3_model import Config, Track3Model
from workloads.nanogpt.track3_task import Track3, in_file_order

TINY = Config(vocab_size=50, context=12, layers=2, heads=2, width=16, dtype=torch.float64)


class Tiny(Track3):
    """The task on random tokens."""

    name = "tiny"
    config = TINY
    train_batch_size = 6
    micro_batch_size = 2
    logits_at_once = 4
    sequences_by_shard = (8,)

    def load(self):
        tokens = torch.randint(50, (8, 13), generator=torch.Generator().manual_seed(1)).numpy()
        return {
            split: {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]} for split in self.splits
        }


def randomised(model, dtype=torch.float64):
    """The model in `dtype`, without the zeros and ones of its initialisation."""
    generator = torch.Generator().manual_seed(0)
    model = model.to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def literal_loss(model, tokens_bt, targets_bt):
    """The summed loss by loops over sequences, layers, heads and positions."""
    p = {name: parameter.double() for name, parameter in model.named_parameters()}
    heads, eps = TINY.heads, torch.finfo(torch.float64).eps
    width = TINY.width // heads
    quarter = width // 4
    frequencies = [(1 / 1024) ** (i / (quarter - 1)) for i in range(quarter)] + [0.0] * quarter

    def linear(name, x):
        return p[f"{name}.weight"] @ x + p[f"{name}.bias"]

    def norm(x, gains=1.0):
        return x / (x.square().mean() + eps).sqrt() * gains

    def rotated(x, position):
        y = torch.empty_like(x)
        for i, frequency in enumerate(frequencies):
            c, s = math.cos(position * frequency), math.sin(position * frequency)
            a, b = x[i], x[i + len(frequencies)]
            y[i], y[i + len(frequencies)] = a * c + b * s, -a * s + b * c
        return y

    total = torch.zeros((), dtype=torch.float64)
    for tokens, targets in zip(tokens_bt, targets_bt, strict=True):
        xs = [norm(p["embed.weight"][t], p["norm1.gains"]) for t in tokens]
        for layer in range(TINY.layers):
            at = f"blocks.{layer}"
            normed = [norm(x, p[f"{at}.norm1.gains"]) for x in xs]
            q, k, v = (
                [linear(f"{at}.attn.{which}", x).view(heads, width) for x in normed]
                for which in "qkv"
            )
            for t in range(len(xs)):
                mixed = []
                for head in range(heads):
                    query = rotated(norm(q[t][head]), t)
                    scores = torch.stack(
                        [0.12 * query @ rotated(norm(k[u][head]), u) for u in range(t + 1)]
                    )
                    shares = scores.exp() / scores.exp().sum()
                    mixed.append(sum(shares[u] * v[u][head] for u in range(t + 1)))
                xs[t] = xs[t] + linear(f"{at}.attn.proj", torch.cat(mixed))
            for t, x in enumerate(xs):
                hidden = linear(f"{at}.mlp.fc", norm(x, p[f"{at}.norm2.gains"]))
                xs[t] = x + linear(f"{at}.mlp.proj", hidden.clamp(min=0) ** 2)
        for x, target in zip(xs, targets, strict=True):
            z = linear("proj", norm(x, p["norm2.gains"]))
            z = 15 * z / (z**2 + 15**2).sqrt()
            total = total + z.exp().sum().log() - z[target]
    return total


@pytest.fixture
def tiny():
    return Tiny()


def test_parameters_are_those_of_the_baseline():
    with torch.device("meta"):
        model = Track3Model(Config())
    shapes = {name: list(p.shape) for name, p in model.named_parameters()}
    expected = {"embed.weight": [50304, 768], "norm1.gains": [768], "norm2.gains": [768]}
    expected |= {"proj.weight": [50304, 768], "proj.bias": [50304]}
    for layer in range(12):
        at = f"blocks.{layer}"
        expected |= {f"{at}.norm1.gains": [768], f"{at}.norm2.gains": [768]}
        sizes = {f"attn.{name}": (768, 768) for name in ("q", "k", "v", "proj")}
        for name, (rows, columns) in (
            sizes | {"mlp.fc": (3072, 768), "mlp.proj": (768, 3072)}
        ).items():
            expected |= {f"{at}.{name}.weight": [rows, columns], f"{at}.{name}.bias": [rows]}
    assert shapes == expected
    types = {name: p.dtype for name, p in model.named_parameters()}
    assert types.pop("embed.weight") is torch.bfloat16
    assert set(types.values()) == {torch.float32}
    assert list(model.buffers()) == []


def test_types_and_the_head():
    workload = workloads.get("nanogpt_track3")
    types = workload.model_params_types
    kinds = {
        "embed.weight": ParameterType.EMBEDDING, "proj.weight": ParameterType.WEIGHT,
        "blocks.3.attn.q.weight": ParameterType.ATTENTION_Q,
        "blocks.3.attn.k.weight": ParameterType.ATTENTION_K,
        "blocks.3.attn.v.weight": ParameterType.ATTENTION_V,
        "blocks.3.attn.proj.weight": ParameterType.ATTENTION_OUT,
        "blocks.3.attn.v.bias": ParameterType.ATTENTION_BIAS,
        "blocks.3.mlp.fc.bias": ParameterType.BIAS,
        "blocks.3.norm2.gains": ParameterType.LAYER_NORM_SCALE,
        "norm1.gains": ParameterType.LAYER_NORM_SCALE,
    }  # fmt: skip
    assert {name: types[name] for name in kinds} == kinds
    assert [n for n in types if workload.is_output_params(n)] == ["proj.weight", "proj.bias"]


def test_initialisation_is_the_baselines():
    torch.manual_seed(0)
    model = Track3Model(Config(vocab_size=3000, context=8, layers=1, heads=2, width=128))
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "proj" in name:
            assert not parameter.any(), name
        elif name.endswith("gains"):
            assert (parameter == 1).all(), name
        else:
            std = 1.0 if name == "embed.weight" else (0.33 / 128) ** 0.5
            assert parameter.float().std().item() == pytest.approx(std, rel=0.03), name


def test_loss_and_gradients_are_those_of_a_literal_model(tiny):
    model = randomised(Track3Model(TINY)).train()
    batch = tiny.examples["train"].take(np.arange(3))
    loss = loss_of(tiny, model, batch)
    loss["summed"].backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    expected = literal_loss(model, batch["inputs"].tolist(), batch["targets"].tolist())
    assert loss["summed"].item() == pytest.approx(expected.item(), rel=1e-10)
    assert loss["n_valid_examples"].item() == 3 * 12
    expected.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-7, atol=1e-9, msg=name)


def test_in_bfloat16_the_loss_is_near(tiny):
    exact = randomised(Track3Model(TINY))
    batch = tiny.examples["train"].take(np.arange(3))
    model = Track3Model(Config(**{**vars_of(TINY), "dtype": torch.bfloat16}))
    model.load_state_dict(
        {
            n: p.to(q.dtype)
            for (n, p), q in zip(
                exact.state_dict().items(), model.state_dict().values(), strict=True
            )
        }
    )
    logits = model.train()(batch["inputs"])
    assert logits.dtype is torch.float32
    wide = exact(batch["inputs"])
    assert (logits - wide).abs().max() < 0.1 * wide.abs().max()


def vars_of(config):
    return {name: getattr(config, name) for name in config.__slots__}


def test_micro_batches_give_the_gradients_of_the_batch(tiny):
    model = randomised(Track3Model(TINY)).train()
    batch = next(tiny.build_input_queue(0, "train", 6))
    mask = torch.rand(6, 12) < 0.7
    found = {}
    for size in (2, 6):  # of 6 sequences
        tiny.micro_batch_size = tiny.logits_at_once = size
        model.zero_grad()
        loss = loss_of(tiny, model, {**batch, "weights": mask}, label_smoothing=0.1)
        loss["summed"].backward()
        grads = torch.cat([p.grad.flatten() for p in model.parameters()])
        found[size] = [loss["summed"], loss["per_example"], grads]
    for ours, whole in zip(found[2], found[6], strict=True):
        torch.testing.assert_close(ours, whole)
    logits = model.eval()(batch["inputs"])
    expected = F.cross_entropy(
        logits.flatten(0, 1), batch["targets"].flatten(), label_smoothing=0.1, reduction="none"
    )
    torch.testing.assert_close(found[2][0], (expected * mask.flatten()).sum())


def compare_with_wrapper(tiny):
    """Compares gradients of two steps with those of the harness's wrapper."""
    alone = randomised(Track3Model(TINY)).train()
    wrapped = copy.deepcopy(alone)
    both = DistributedDataParallel(wrapped)
    for batch, _ in zip(tiny.build_input_queue(0, "train", 6), range(2), strict=False):
        for model in (alone, both):
            model.zero_grad()
            loss_of(tiny, model, batch)["summed"].backward()
        for one, other in zip(alone.parameters(), wrapped.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)


def test_micro_batches_work_in_the_wrapper_of_several_processes(tiny, tmp_path):
    """Each step, with the model of the harness's wrapper; one process is enough."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/at", rank=0, world_size=1
    )
    try:
        compare_with_wrapper(tiny)
    finally:
        gc.collect()  # a wrapper that outlives the group can hang in its destructor
        distributed.destroy_process_group()


def test_only_one_pass_over_the_batch_is_training_work(tiny):
    model = randomised(Track3Model(TINY)).train()
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    loss_of(tiny, model, next(tiny.build_input_queue(0, "train", 6)))["summed"].backward()
    assert seen == [2]  # the others are computed and recomputed within model_fn's own functions


def shards_read_literally(shards, size, length):
    """Batches [size, length + 1] of tokens: file by file, each from the last one's end."""
    for tokens in shards:
        position = 0
        while len(tokens) - position >= size * length + 1:
            window = tokens[position : position + size * length + 1]
            yield [window[i * length : (i + 1) * length + 1].tolist() for i in range(size)]
            position += size * length


def test_batches_are_read_in_the_order_of_the_files(tmp_path):
    rng = np.random.default_rng(0)
    length, size = 1024, 2
    counts = (3 * 2048 + 1, 2 * 2048, 4 * 2048 + 700)  # exact, one token too few, with a tail
    shards = [rng.integers(50257, size=count) for count in counts]
    for number, tokens in enumerate(shards):
        write_shard(tmp_path / f"fineweb_train_{number:06}.bin", tokens)
    write_shard(tmp_path / "fineweb_val_000000.bin", rng.integers(50257, size=3 * 1024 + 5))
    workload = workloads.get("nanogpt_track3", tmp_path)
    expected = list(shards_read_literally(shards, size, length))
    assert len(expected) == 3 + 1 + 4
    for seed in (0, 1):
        queue = workload.build_input_queue(seed, "train", size)
        for batch, windows in zip(queue, [*expected, expected[0]], strict=False):
            assert batch["inputs"].tolist() == [window[:-1] for window in windows]
            assert batch["targets"].tolist() == [window[1:] for window in windows]
    later = next(workload.build_input_queue(0, "train", size, start=5))
    assert later["inputs"].tolist() == [window[:-1] for window in expected[5]]


@pytest.mark.parametrize("counts", [(5,), (3, 0, 9), (2, 2)])
def test_what_is_left_of_a_shard_is_skipped(counts):
    numbers, expected = 0, []
    for count in counts:
        expected += range(numbers, numbers + count // 4 * 4)
        numbers += count
    assert in_file_order(counts, 4).tolist() == expected


def test_validation_is_the_beginning_of_the_validation_text(tmp_path):
    write_files(tmp_path, tokens=12 * 1024 + 3)
    workload = workloads.get("nanogpt_track3", tmp_path)
    workload.num_validation_examples = 7
    inputs = workload.load()["validation"]["inputs"]
    tokens = workload.shards("val")[0]
    assert inputs.take(np.arange(len(inputs))).flatten().tolist() == tokens[: 7 * 1024].tolist()


def test_data_is_checked(tmp_path):
    write_files(tmp_path, tokens=3000)
    workload = workloads.get("nanogpt_track3", tmp_path)
    workload.check_data()
    faults = workload.data_faults()
    assert "6,003 tokens of train, the workload has 1,769,472,001" in faults[0]
    assert "3,000 tokens of val, the workload has 10,485,761" in faults[1]
    with pytest.raises(DataError, match=r"no \*train\*.bin there"):
        workloads.get("nanogpt_track3", tmp_path / "nowhere").check_data()


@pytest.mark.slow
def test_the_official_model_trains_from_its_files(tmp_path):
    rows = two_steps("nanogpt_track3", write_files(tmp_path, tokens=4 * 1024 + 1), batch_size=1)
    assert rows[0]["validation/loss"] < 12  # that of an even guess is 10.8
