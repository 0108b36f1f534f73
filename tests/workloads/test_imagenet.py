"""imagenet_resnet and imagenet_vit: models, files, batches, evaluation."""

import io
import itertools
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

import workloads
from harness.spec import DataError, ForwardPassMode
from tests.fixtures.imagenet import V2, WNIDS, picture, write_files
from workloads.imagenet import loading, task, transforms
from workloads.imagenet.digits import distorted_digits
from workloads.imagenet.vit import Config, ViT, positions
from workloads.resnet import ResNet

TABLE = {  # parameters, tensors
    "imagenet_resnet": (25_557_032, 161),
    "imagenet_resnet_silu": (25_557_032, 161),
    "imagenet_resnet_gelu": (25_557_032, 161),
    "imagenet_resnet_large_bn_init": (25_557_032, 161),
    "imagenet_vit": (22_122_472, 200),
    "imagenet_vit_glu": (50_452_456, 224),
    "imagenet_vit_post_ln": (22_121_704, 198),
    "imagenet_vit_map": (23_896_552, 213),
}
SMALL = Config(patch=4, width=16, depth=2, mlp=24, heads=2, classes=5)
TRAIN = ForwardPassMode.TRAIN


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("imagenet"))
    workloads.get("imagenet_resnet", folder).prepare_data()
    return folder


def on_meta(name):
    with torch.device("meta"):
        return workloads.get(name).build_model()


@pytest.mark.parametrize("name", TABLE)
def test_models_have_the_official_parameters(name):
    model = on_meta(name)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (count, len(list(model.parameters()))) == TABLE[name]


def test_variants_of_the_vit_have_the_names_of_their_layers():
    assert "encoder.net.3.mlp3.glu_linear.weight" in on_meta("imagenet_vit_glu").state_dict()
    assert "encoder.encoder_norm.weight" not in on_meta("imagenet_vit_post_ln").state_dict()
    pooling = [name for name in on_meta("imagenet_vit_map").state_dict() if name[:4] == "map."]
    assert pooling[0] == "map.probe"
    assert len(pooling) == 13


def cut_normal(weight):
    fan_in = weight[0].numel()
    bound = 2 * math.sqrt(1 / fan_in) / 0.87962566103423978
    assert weight.abs().max() <= bound
    tolerance = 4 / math.sqrt(2 * weight.numel())
    assert weight.std().item() == pytest.approx(math.sqrt(1 / fan_in), rel=tolerance)


@pytest.mark.parametrize("scale", [0.0, 8.0])
def test_a_resnet_starts_as_specified(scale):
    torch.manual_seed(0)
    model = ResNet((2, 1), 50, width=16, last_scale=scale)
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        if value.dim() == 4:
            cut_normal(value)
        elif name == "fc.weight":
            assert value.std().item() == pytest.approx(0.01, rel=0.05)
        elif name.endswith("bn3.weight"):
            assert (value == scale).all()
        else:
            assert (value == (1.0 if "bn" in name and name.endswith("weight") else 0.0)).all()


def test_a_vit_starts_as_specified():
    torch.manual_seed(0)
    model = ViT(Config(patch=8, width=96, depth=1, mlp=192, heads=2, pooling=True))
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        mlp = any(part in name for part in ("mlp", "map.mha"))
        if name in ("conv_patch_extract.weight", "pre_logits.weight"):
            cut_normal(value)
        elif name.startswith("head."):
            assert (value == 0).all()
        elif "norm" in name:
            assert (value == float(name.endswith("weight"))).all()
        elif name.endswith("bias"):
            assert value.std().item() == (pytest.approx(1e-6, rel=0.5) if mlp else 0)
        elif value.dim() == 2:
            bound = math.sqrt(6 / sum(value.shape))
            assert 0.98 * bound < value.abs().max() <= bound


def slow_resnet(model, x):
    """A bottleneck network of two stages in evaluation mode, from its state alone."""
    state = model.state_dict()

    def norm(x, name):
        mean, var, scale, bias = (
            state[f"{name}.{k}"].view(1, -1, 1, 1)
            for k in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * scale + bias

    def conv(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    x = norm(conv(x, "conv1", 2), "bn1").relu()
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-math.inf), 3, 2)
    for stage in (1, 2):
        block, stride = f"layer{stage}.0", stage
        y = norm(conv(x, f"{block}.conv1"), f"{block}.bn1").relu()
        y = norm(conv(y, f"{block}.conv2", stride), f"{block}.bn2").relu()
        y = norm(conv(y, f"{block}.conv3"), f"{block}.bn3")
        x = norm(conv(x, f"{block}.downsample.conv", stride), f"{block}.downsample.bn")
        x = (x + y).relu()
    return x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def test_a_resnet_computes_what_its_equations_say():
    torch.manual_seed(0)
    model = ResNet((1, 1), 7, width=4, last_scale=0.7)
    images = torch.randn(3, 3, 33, 40)
    model(images)  # moves the running statistics
    model.eval()
    torch.testing.assert_close(model(images), slow_resnet(model, images), rtol=1e-4, atol=1e-5)


def slow_vit(model, config, images):
    """The base model from its state alone, an image and a head at a time."""
    state = model.state_dict()

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def gelu(x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    logits = []
    for image in images:
        p = config.patch
        rows, columns = image.shape[1] // p, image.shape[2] // p
        kernel = state["conv_patch_extract.weight"].flatten(1)
        tokens = []
        for r, c in itertools.product(range(rows), range(columns)):
            patch = image[:, r * p : (r + 1) * p, c * p : (c + 1) * p].flatten()
            frequency = [10000 ** (-k / (config.width // 4 - 1)) for k in range(config.width // 4)]
            place = [f(v * w) for v in (c, r) for f in (math.sin, math.cos) for w in frequency]
            tokens.append(kernel @ patch + state["conv_patch_extract.bias"] + torch.tensor(place))
        x = torch.stack(tokens)
        for block in (f"encoder.net.{n}" for n in range(config.depth)):
            y = norm(x, f"{block}.layer_norm0")
            q, k, v = (linear(y, f"{block}.self_attention1.{n}") for n in ("query", "key", "value"))
            heads = []
            for a, b, c in zip(*(t.chunk(config.heads, -1) for t in (q, k, v)), strict=True):
                heads.append(torch.softmax(a @ b.T / math.sqrt(a.shape[-1]), -1) @ c)
            x = x + linear(torch.cat(heads, -1), f"{block}.self_attention1.out")
            y = gelu(linear(norm(x, f"{block}.layer_norm2"), f"{block}.mlp3.linear1"))
            x = x + linear(y, f"{block}.mlp3.linear2")
        x = norm(x, "encoder.encoder_norm").mean(0)
        logits.append(linear(torch.tanh(linear(x, "pre_logits")), "head"))
    return torch.stack(logits)


def test_a_vit_computes_what_its_equations_say():
    torch.manual_seed(0)
    model = ViT(SMALL)
    nn.init.normal_(model.head.weight)
    images = torch.randn(3, 3, 8, 16)
    ours, expected = model(images), slow_vit(model, SMALL, images)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert positions(2, 4, 16, torch.device("cpu")).shape == (1, 8, 16)


@pytest.mark.parametrize("options", [{"gated": True}, {"post_norm": True}, {"pooling": True}])
def test_variants_of_the_vit_train(options):
    torch.manual_seed(0)
    model = ViT(Config(**{**vars_of(SMALL), **options}))
    nn.init.normal_(model.head.weight)
    images = torch.randn(2, 3, 8, 8)
    logits = model(images)
    assert logits.shape == (2, 5)
    assert not torch.equal(model(images, dropout_rate=0.5), model(images, dropout_rate=0.5))
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def vars_of(config):
    return {name: getattr(config, name) for name in config.__slots__}


def test_activations_of_the_resnet_variants_are_used():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    outputs = []
    for name in ("imagenet_resnet", "imagenet_resnet_silu", "imagenet_resnet_gelu"):
        torch.manual_seed(0)
        model = ResNet((1,), 5, width=4, **workloads.get(name).model_options)
        outputs.append(model(images))
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])


def pixels_of(workload, split):
    """The images of a split as they are evaluated, one at a time."""
    images, change = workload.examples[split], workload.eval_transform(split)
    return np.stack([change(images.image(n), None) for n in range(len(images.labels))])


def test_files_are_in_order_of_class_and_name(files):
    images = workloads.get("imagenet_vit", files).examples
    assert {split: len(images[split].labels) for split in images} == {
        "train": 20, "validation": 6, "test": 3,
    }  # fmt: skip
    assert images["train"].paths[0] == f"{WNIDS[0]}/{WNIDS[0]}_0000.JPEG".encode()
    assert images["train"].labels.tolist() == [0] * 6 + [1] * 6 + [2] * 8
    assert images["test"].labels.tolist() == [0, 1, 2]
    assert sorted(images["train"].paths.tolist()) == images["train"].paths.tolist()


def test_folders_of_imagenet_v2_are_class_numbers(tmp_path):
    write_files(tmp_path)
    (tmp_path / V2 / "2").rename(tmp_path / V2 / "10")
    workload = workloads.get("imagenet_vit", tmp_path)
    workload.prepare_data()
    assert workload.examples["test"].labels.tolist() == [0, 1, 10]


def test_grey_cmyk_and_png_files_become_rgb(files):
    images = workloads.get("imagenet_vit", files).examples["train"]
    by_name = {Path(os.fsdecode(path)).name: n for n, path in enumerate(images.paths)}
    for name in (f"{WNIDS[0]}_0001.JPEG", "cmyk.JPEG", "png.JPEG"):
        assert images.image(by_name[name]).mode == "RGB"
    assert np.array_equal(images.image(by_name["png.JPEG"]), picture(8))
    grey = np.asarray(images.image(by_name[f"{WNIDS[0]}_0001.JPEG"]))
    assert (grey == grey[..., :1]).all()
    cmyk = np.asarray(images.image(by_name["cmyk.JPEG"]), float)
    assert np.abs(cmyk - np.asarray(picture(7), float)).mean() < 12


def batches_of(workload, size, count, seed=3):
    return list(itertools.islice(workload.build_input_queue(seed, "train", size), count))


@pytest.mark.parametrize("name", ["imagenet_resnet", "imagenet_vit"])
def test_batches_do_not_depend_on_the_number_of_workers(files, name, monkeypatch):
    monkeypatch.setattr(loading, "CHUNK", 3)
    found = []
    for workers in (0, 1, 2):
        workload = workloads.get(name, files)
        workload.__dict__["workers"] = workers
        found.append(batches_of(workload, 8, 5))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a["inputs"], b["inputs"])
            assert torch.equal(a["targets"], b["targets"])
    assert found[0][0]["inputs"].shape == (8, 3, 224, 224)


def test_making_batches_leaves_the_global_generators_alone(files):
    before = torch.random.get_rng_state(), random.getstate()
    workload = workloads.get("imagenet_vit", files)
    workload.__dict__["workers"] = 1
    batches_of(workload, 4, 2)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_an_epoch_holds_each_image_once_and_augments_it_anew_in_the_next(files):
    workload = workloads.get("imagenet_resnet", files)
    workload.__dict__["workers"] = 0
    batches = batches_of(workload, 10, 4)
    for epoch in (batches[:2], batches[2:]):
        labels = torch.cat([batch["targets"] for batch in epoch])
        assert sorted(labels.tolist()) == [0] * 6 + [1] * 6 + [2] * 8
    rows = {row.numpy().tobytes() for batch in batches for row in batch["inputs"]}
    assert len(rows) == 40


def test_a_batch_is_normalised_and_its_targets_are_mixed(files):
    workload = workloads.get("imagenet_vit", files)
    workload.__dict__["workers"] = 0
    batch = batches_of(workload, 8, 1)[0]
    assert batch["targets"].shape == (8, 1000)
    torch.testing.assert_close(batch["targets"].sum(1), torch.ones(8))
    pixels = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    expected = [(v / 255 - m) / d for v, m, d in zip(
        (0, 128, 255), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True
    )]  # fmt: skip
    np.testing.assert_allclose(workload.normalised(pixels).flatten(), expected, rtol=1e-5)


def test_the_weight_of_mixup_is_beta_and_new_for_every_batch():
    workload = workloads.get("imagenet_vit_mini")
    batches = batches_of(workload, 8, 300)
    weights = np.array([
        batch["targets"][(batch["targets"] > 0).sum(1) == 2].max(1).values[0].item()
        for batch in batches
    ])  # fmt: skip
    draws = np.random.default_rng(0).beta(0.2, 0.2, 100_000)
    expected = np.quantile(np.maximum(draws, 1 - draws), [0.2, 0.4, 0.5])
    np.testing.assert_allclose(np.quantile(weights, [0.2, 0.4, 0.5]), expected, atol=0.08)


@pytest.mark.parametrize(("size", "workers"), [(1, 0), (2, 0), (5, 2), (6, 1)])
def test_evaluation_counts_every_image_once(files, size, workers):
    workload = workloads.get("imagenet_vit", files)
    workload.__dict__["workers"] = workers
    workload.eval_batch_size = size
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)).train()
    for split in ("validation", "test"):
        x = workload.normalised(torch.from_numpy(pixels_of(workload, split)))
        labels = torch.from_numpy(np.array(workload.examples[split].labels))
        with torch.no_grad():
            logits = model(x)
        metrics = workload.eval_model(model, None, split)
        assert metrics["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
        assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean())
    assert model.training


def test_evaluated_training_images_are_a_random_sample(files, monkeypatch):
    workload = workloads.get("imagenet_resnet", files)
    workload.__dict__["workers"] = 0
    workload.num_eval_train_examples = 9
    seen = []

    def spy(chunks, keys, *rest):
        seen.extend(np.concatenate([numbers for _, numbers in keys]))
        return loading.batches(chunks, keys, *rest)

    monkeypatch.setattr(task, "batches", spy)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))
    workload.eval_model(model, None, "train")
    assert len(set(seen)) == 9
    assert set(workload.examples["train"].labels[seen]) == {0, 1, 2}


def test_the_official_models_learn_from_a_batch_of_files(files):
    for name in ("imagenet_resnet", "imagenet_vit"):
        workload = workloads.get(name, files)
        workload.__dict__["workers"] = 0
        model, _ = workload.init_model_fn(0)
        batch = batches_of(workload, 2, 1)[0]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        losses = []
        for _ in range(2):
            logits, _ = workload.model_fn(model, batch, None, TRAIN, (0, 0), True)
            loss = workload.loss_fn(batch["targets"], logits, label_smoothing=0.1)
            optimizer.zero_grad()
            loss["summed"].backward()
            optimizer.step()
            losses.append(loss["summed"].item())
        assert losses[0] == pytest.approx(2 * math.log(1000), rel=0.05)
        assert losses[1] < losses[0]


def test_soft_targets_masks_and_smoothing_follow_the_definition():
    workload = workloads.get("imagenet_vit")
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 5), torch.softmax(torch.randn(6, 5), 1)
    mask = torch.tensor([1.0, 1, 0, 1, 0, 1])
    smooth = targets * 0.9 + 0.1 / 5
    expected = -(smooth * torch.log_softmax(logits, 1)).sum(1)
    loss = workload.loss_fn(targets, logits, mask, 0.1)
    torch.testing.assert_close(loss["per_example"], expected * mask)
    torch.testing.assert_close(loss["summed"], (expected * mask).sum())
    assert loss["n_valid_examples"].item() == 4


def damage(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_ends_training_with_its_name(tmp_path, workers):
    write_files(tmp_path, train=3)
    damage(tmp_path / "train" / WNIDS[1] / f"{WNIDS[1]}_0002.JPEG")
    workload = workloads.get("imagenet_resnet", tmp_path)
    workload.__dict__["workers"] = workers
    workload.prepare_data()
    with pytest.raises(DataError) as caught:
        batches_of(workload, 11, 1)
    message = str(caught.value)
    assert f"{WNIDS[1]}_0002.JPEG: cannot be decoded" in message
    assert "\n" not in message
    assert "fetch it again" in message


def test_data_check_names_what_is_missing_or_damaged(tmp_path):
    write_files(tmp_path)
    workload = workloads.get("imagenet_resnet", tmp_path)
    assert "is not prepared" in workload.data_faults()[0]
    workload.prepare_data()
    damage(tmp_path / "val" / WNIDS[0] / f"{WNIDS[0]}_0000.JPEG")
    (tmp_path / V2 / "1" / f"{WNIDS[1]}_0000.jpeg").write_text("<html>not found</html>")
    faults = "\n".join(workload.data_faults())
    assert f"{WNIDS[0]}_0000.JPEG: cannot be decoded" in faults
    assert f"{WNIDS[1]}_0000.jpeg: cannot be decoded" in faults
    assert "3 folders of classes, not 1,000" in faults
    assert "997 folders missing: 3, 4, 5" in faults
    assert "20 images, ImageNet has 1,281,167" in faults
    (tmp_path / "val" / WNIDS[1] / "extra.JPEG").write_bytes(b"")
    assert "is out of date" in "\n".join(workload.data_faults())


def test_missing_folders_are_named_with_what_to_put_there(tmp_path):
    with pytest.raises(DataError, match="--data-dir"):
        workloads.get("imagenet_vit").check_data()
    with pytest.raises(DataError, match=r"train: holds no folders of classes; .*WNID"):
        workloads.get("imagenet_vit", tmp_path).check_data()
    write_files(tmp_path)
    with pytest.raises(DataError, match="chronograd data prepare"):
        workloads.get("imagenet_vit", tmp_path).examples  # noqa: B018
    (tmp_path / "val" / "n99999999").mkdir()
    with pytest.raises(DataError, match=r"n99999999: is the folder of no class"):
        workloads.get("imagenet_vit", tmp_path).check_data()
    (tmp_path / "val" / "n99999999").rename(tmp_path / "train" / "n99999999")
    with pytest.raises(DataError, match=r"n99999999: holds no images"):
        workloads.get("imagenet_vit", tmp_path).prepare_data()


def test_fewer_images_than_a_batch_are_refused(files):
    with pytest.raises(DataError, match="a batch is 1,024 examples, and there are 20"):
        next(workloads.get("imagenet_vit", files).build_input_queue(0, "train", 1024))


def test_a_truncated_image_is_refused_wherever_it_ends():
    buffer = io.BytesIO()
    picture(0).save(buffer, format="JPEG")
    content = buffer.getvalue()
    for end in (10, 300, len(content) - 200):
        with pytest.raises((OSError, SyntaxError)):
            Image.open(io.BytesIO(content[:end]), formats=("JPEG", "PNG")).convert("RGB")


def test_there_are_as_many_workers_as_processors_for_this_process(monkeypatch):
    available = len(os.sched_getaffinity(0))
    assert loading.workers() == available
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert loading.workers() == max(1, available // 2)
    assert workloads.get("imagenet_vit").workers == max(1, available // 2)
    assert workloads.get("imagenet_vit_mini").workers == 0


def test_digits_are_the_same_every_time_and_of_originals_of_their_own():
    one, two = (distorted_digits("test", 30, 2, 1.0) for _ in range(2))
    assert np.array_equal(one["pixels"], two["pixels"])
    other = distorted_digits("test", 30, 3, 1.0)
    assert np.array_equal(one["labels"], other["labels"])
    assert not np.array_equal(one["pixels"], other["pixels"])
    plain = {
        split: {row.tobytes() for row in distorted_digits(split, count, 0, 0.0)["pixels"]}
        for split, count in {"train": 1077, "validation": 360, "test": 360}.items()
    }
    assert len(plain["train"]) > 1050
    assert not plain["train"] & plain["validation"]
    assert not plain["train"] & plain["test"]


def test_transforms_travel_between_processes():
    code = (
        "import pickle; from workloads.imagenet import transforms as t;"
        "pickle.dumps([t.training(224, operations=2), t.evaluation(224, 256), t.unchanged])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert transforms.unchanged(picture(0), None).shape == (45, 60, 3)
