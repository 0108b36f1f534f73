"""What is done to ImageNet's images, each step against its definition."""

import math
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from tests.fixtures.imagenet import picture
from workloads.imagenet import randaugment, transforms
from workloads.imagenet.randaugment import OPERATIONS, rand_augment
from workloads.imagenet.task import mixed


class Fixed:
    """Random numbers that are given, so that every sign is plus or every sign is minus."""

    def __init__(self, sign):
        self._sign = sign

    def random(self):
        return 0.25 if self._sign < 0 else 0.75


def bilinear(pixels, size):
    """A slow resize [H, W, 3] -> [size[1], size[0], 3] by triangle filters as wide as the scale."""

    def weights(before, after):
        scale = before / after
        support = max(scale, 1.0)
        table = np.zeros((after, before))
        for out in range(after):
            centre = (out + 0.5) * scale
            for pixel in range(before):
                table[out, pixel] = max(0.0, 1 - abs((pixel + 0.5 - centre) / support))
        return table / table.sum(axis=1, keepdims=True)

    height, width = pixels.shape[:2]
    down = np.tensordot(weights(height, size[1]), pixels.astype(float), axes=(1, 0))
    return np.tensordot(weights(width, size[0]), down, axes=(1, 1)).swapaxes(0, 1)


@pytest.mark.parametrize("shape", [(500, 375), (30, 400), (400, 30), (5, 5)])
def test_random_crops_lie_within_and_have_the_area_and_ratio_asked_for(shape):
    width, height = shape
    rng = Random(0)
    for _ in range(500):
        left, top, right, bottom = transforms.random_box(width, height, (0.08, 1.0), rng)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        w, h = right - left, bottom - top
        assert (w + 0.5) / (h - 0.5) >= 3 / 4
        assert (w - 0.5) / (h + 0.5) <= 4 / 3


def test_areas_are_uniform_and_ratios_symmetric_where_all_boxes_fit():
    rng = Random(0)
    boxes = [transforms.random_box(500, 375, (0.08, 0.24), rng) for _ in range(4000)]
    parts = np.array([(r - x) * (b - y) / (500 * 375) for x, y, r, b in boxes])
    ratios = [math.log((r - x) / (b - y)) for x, y, r, b in boxes]
    assert np.histogram(parts, 4, (0.08, 0.24))[0] == pytest.approx(1000 * np.ones(4), abs=100)
    assert np.histogram(ratios, 4, (math.log(3 / 4), math.log(4 / 3)))[0] == pytest.approx(
        1000 * np.ones(4), abs=100
    )


def test_a_crop_that_never_fits_is_the_largest_central_one():
    assert transforms.random_box(300, 30, (1.0, 1.0), Random(0)) == (130, 0, 170, 30)
    assert transforms.random_box(30, 300, (1.0, 1.0), Random(0)) == (0, 130, 30, 170)


def test_training_crops_resizes_and_mirrors():
    image = picture(0)
    change = transforms.training(16, area=(0.3, 1.0))
    mirrored = 0
    for seed in range(40):
        out = change(image, Random(seed))
        rng = Random(seed)
        box = transforms.random_box(image.width, image.height, (0.3, 1.0), rng)
        expected = bilinear(np.asarray(image.crop(box)), (16, 16))
        if rng.random() < 0.5:
            mirrored += 1
            expected = expected[:, ::-1]
        assert out.dtype == np.uint8
        assert np.abs(out - expected).max() <= 1
    assert 10 < mirrored < 30


@pytest.mark.parametrize("shape", [(60, 45), (45, 61), (50, 50), (33, 90)])
def test_validation_images_are_resized_by_their_short_side_and_cut(shape):
    image = picture(1, *shape)
    out = transforms.evaluation(28, 32)(image, Random(0))
    short = min(shape)
    size = (int(32 * shape[0] / short), int(32 * shape[1] / short))
    left, top = round((size[0] - 28) / 2), round((size[1] - 28) / 2)
    expected = bilinear(np.asarray(image), size)[top : top + 28, left : left + 28]
    assert out.shape == (28, 28, 3)
    assert np.abs(out - expected).max() <= 1


def cubic(x):
    """Keys' kernel with a = -1/2."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


@pytest.mark.parametrize(("before", "after"), [(40, 28), (21, 28), (28, 28), (3, 7)])
def test_bicubic_weights_are_keys_at_half_pixel_centres(before, after):
    expected = np.zeros((after, before))
    for out in range(after):
        centre = (out + 0.5) * before / after - 0.5
        row = [cubic(pixel - centre) for pixel in range(before)]
        expected[out] = np.array(row) / sum(row)
    np.testing.assert_allclose(transforms.bicubic_weights(before, after), expected, atol=1e-6)


def test_bicubic_resizing_upwards_is_pillows_up_to_its_rounding():
    image = picture(2, 20, 20).point([64 + level // 2 for level in range(256)] * 3)
    weights = transforms.bicubic_weights(20, 50)
    ours = np.einsum("ij,kl,jlc->ikc", weights, weights, np.asarray(image, float))
    theirs = np.asarray(image.resize((50, 50), Image.Resampling.BICUBIC))
    assert np.abs(ours - theirs).max() <= 1.5


def test_imagenet_v2_is_cut_first_and_then_resized():
    image = picture(3, 61, 48)
    out = transforms.imagenet_v2(28, 32)(image, Random(0))
    square = np.asarray(image.crop((10, 3, 52, 45)), float)  # 7/8 of 48 is 42
    weights = transforms.bicubic_weights(42, 28)
    np.testing.assert_allclose(
        out, np.einsum("ij,kl,jlc->ikc", weights, weights, square), rtol=1e-4, atol=1e-3
    )
    assert out.dtype == np.float32


def sampled(pixels, source):
    """Each pixel from the one that `source` says, at pixels' centres; grey where there is none."""
    out = np.full_like(pixels, 128)
    height, width = pixels.shape[:2]
    for y in range(height):
        for x in range(width):
            u, v = source(x + 0.5, y + 0.5)
            if 0 <= u < width and 0 <= v < height:
                out[y, x] = pixels[int(v), int(u)]
    return out


def rotation(sign):
    angle = math.radians(30) * sign

    def source(x, y):
        x, y = x - 28, y - 28
        return (
            x * math.cos(angle) - y * math.sin(angle) + 28,
            x * math.sin(angle) + y * math.cos(angle) + 28,
        )

    return source


GEOMETRY = {  # at 56 pixels, a quarter of 224
    "ShearX": lambda s: lambda x, y: (x + s * 0.3 * y, y),
    "ShearY": lambda s: lambda x, y: (x, y + s * 0.3 * x),
    "TranslateX": lambda s: lambda x, y: (x + s * 25, y),
    "TranslateY": lambda s: lambda x, y: (x, y + s * 25),
    "Rotate": rotation,
}


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_moves_pixels_and_leaves_grey(name, sign):
    image = picture(4, 56, 56)
    ours = np.asarray(OPERATIONS[name](image, Fixed(sign)))
    expected = sampled(np.asarray(image), GEOMETRY[name](sign))
    assert (ours != expected).any(axis=2).mean() < 0.01  # ties at pixels' edges


LEVELS = {  # of one channel's pixel
    "Brightness": lambda p: min(255, int(p * 1.9)),
    "Posterize": lambda p: p // 16 * 16,
    "Solarize": lambda p: p,
    "SolarizeAdd": lambda p: p + 110 if p < 128 else p,
    "Invert": lambda p: 255 - p,
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_mapped_as_defined(name):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    ours = np.asarray(OPERATIONS[name](Image.fromarray(levels), Fixed(1))).astype(int)
    expected = np.vectorize(LEVELS[name])(levels.astype(int))
    assert np.abs(ours - expected).max() <= (1 if name == "Brightness" else 0)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("Color", lambda image: ImageEnhance.Color(image).enhance(1.9)),
        ("Contrast", lambda image: ImageEnhance.Contrast(image).enhance(1.9)),
        ("Sharpness", lambda image: ImageEnhance.Sharpness(image).enhance(1.9)),
        ("AutoContrast", ImageOps.autocontrast),
        ("Equalize", ImageOps.equalize),
        ("Posterize", lambda image: ImageOps.posterize(image, 4)),
        ("Invert", ImageOps.invert),
    ],
)
def test_operations_are_those_of_pillow(name, oracle):
    flat = Image.new("RGB", (9, 9), (3, 200, 77))
    for image in (picture(5), picture(6, 24, 31), flat, ImageOps.posterize(picture(7), 2)):
        assert np.array_equal(OPERATIONS[name](image, Fixed(1)), oracle(image))


def test_colour_moves_away_from_grey():
    image = picture(5)
    grey = np.asarray(image.convert("L").convert("RGB"), float)
    expected = (grey + 1.9 * (np.asarray(image, float) - grey)).clip(0, 255)
    assert np.abs(np.asarray(OPERATIONS["Color"](image, Fixed(1))) - expected).max() <= 1


def test_operations_are_drawn_alike_and_with_replacement(monkeypatch):
    drawn = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda image, rng, n=name: drawn.append(n) or image)
    for seed in range(2000):
        rand_augment(picture(0, 4, 4), Random(seed), 2)
    counts = np.array([drawn.count(name) for name in OPERATIONS])
    assert len(OPERATIONS) == 16
    assert counts.sum() == 4000
    assert np.abs(counts - 250).max() < 70
    assert any(a == b for a, b in zip(drawn[::2], drawn[1::2], strict=True))


def test_signs_are_drawn_alike():
    signs = [randaugment._sign(Random(seed)) for seed in range(1000)]
    assert set(signs) == {-1, 1}
    assert abs(sum(signs)) < 100


def test_mixup_mixes_each_example_with_the_one_before_it():
    inputs, labels = torch.randn(5, 3, 2, 2), torch.tensor([2, 0, 1, 1, 2])
    batch = mixed(inputs, labels, 0.3, 4)
    for row in range(4):
        expected = 0.3 * inputs[row + 1] + 0.7 * inputs[row]
        torch.testing.assert_close(batch["inputs"][row], expected)
        weights = torch.zeros(4)
        weights[labels[row + 1]] += 0.3
        weights[labels[row]] += 0.7
        torch.testing.assert_close(batch["targets"][row], weights)
