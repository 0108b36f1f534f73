"""imagenet_vit's augmentation and its pooling variant, against AlgoPerf's rules."""

from random import Random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from workloads.imagenet.randaugment import OPERATIONS
from workloads.imagenet.vit import AttentionPooling, Config


class Given:
    """Random numbers in [0, 1) that are given one after the other."""

    def __init__(self, *numbers):
        self._numbers = iter(numbers)

    def random(self):
        return next(self._numbers)


def cutout(width, height, u, v, side):
    """Which pixels are grey: the corner is moved into the image first, then the side is added."""
    x0, y0 = int(max(0, u * width - side / 2)), int(max(0, v * height - side / 2))
    x1, y1 = min(width, x0 + side), min(height, y0 + side)
    image = Image.new("L", (width, height), 0)
    ImageDraw.Draw(image).rectangle((x0, y0, x1, y1), 1)
    return np.asarray(image).astype(bool)


@pytest.mark.parametrize("u", [0.0, 0.1, 0.1786, 0.5, 0.83, 0.999])
@pytest.mark.parametrize("v", [0.0, 0.05, 0.62, 0.999])
def test_cutout_is_whole_at_the_near_borders_and_includes_the_far_ones(u, v):
    image = Image.new("RGB", (224, 224), (1, 2, 3))
    found = np.asarray(OPERATIONS["Cutout"](image, Given(u, v)))
    expected = cutout(224, 224, u, v, 80)
    assert np.array_equal((found == 128).all(-1), expected)
    assert (found[~expected] == (1, 2, 3)).all()
    if u == v == 0.0:
        assert expected.sum() == 81 * 81  # not a quarter of it


def test_the_grey_share_is_algoperfs():
    """0.1189 over 3,000 draws of its own code; a square cut off at every border has 0.1056."""
    image = Image.new("RGB", (224, 224), (1, 2, 3))
    shares = [
        (np.asarray(OPERATIONS["Cutout"](image, Random(seed)))[..., 0] == 128).mean()
        for seed in range(3000)
    ]
    assert np.mean(shares) == pytest.approx(0.1189, abs=3 * np.std(shares) / np.sqrt(3000))


def test_the_poolings_attention_has_dropout():
    torch.manual_seed(0)
    pooling = AttentionPooling(Config(width=12, heads=3, mlp=8, pooling=True))
    tokens = torch.randn(2, 5, 12)
    attention = pooling.mha
    queries = pooling.probe.expand(2, -1, -1)
    plain = attention(queries, tokens, 0.0)
    assert not torch.equal(attention(queries, tokens, 0.5), plain)
    # all probabilities dropped: only the output layer's bias is left
    nothing = attention(queries, tokens, 1.0)
    torch.testing.assert_close(nothing, attention.out_proj.bias.expand(2, 1, 12))
    means = torch.stack([attention(queries, tokens, 0.3) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(means, plain, atol=0.05, rtol=0)
    pooling.eval()
    torch.testing.assert_close(attention(queries, tokens, 0.5), plain)


def test_the_rate_reaches_the_pooling_through_the_model(monkeypatch):
    pooling = AttentionPooling(Config(width=12, heads=3, mlp=8, pooling=True))
    rates = []
    monkeypatch.setattr(
        pooling.mha, "forward", lambda queries, x, rate: rates.append(rate) or queries
    )
    pooling(torch.randn(2, 5, 12), 0.25)
    assert rates == [0.25]
