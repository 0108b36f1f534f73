"""Structural similarity (Wang et al. 2004, equation 13), as the fastMRI challenge computes it.

Shapes: B images, H x W pixels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

WINDOW = 7
K1, K2 = 0.01, 0.03


def ssim(images_bhw: Tensor, references_bhw: Tensor, data_range_b: Tensor) -> Tensor:
    """The mean structural similarity of each image to its reference.

    Means, variances and covariances are those of 7x7 windows, all pixels weighted alike, with the
    sample covariance (n - 1); the mean is over the windows that are completely in the image. In
    float64: pixels of 1e-5 squared leave float32 few digits.

    Args:
        images_bhw: The images.
        references_bhw: What they are compared with.
        data_range_b: The range of values; where it is 0, 1 is taken.

    Returns:
        [B], from -1 to 1.
    """
    x, y = images_bhw.double().unsqueeze(1), references_bhw.double().unsqueeze(1)
    span = data_range_b.double().where(data_range_b != 0, 1.0).view(-1, 1, 1, 1)
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    mean_x, mean_y = _mean(x), _mean(y)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    var_x = unbiased * (_mean(x * x) - mean_x**2)
    var_y = unbiased * (_mean(y * y) - mean_y**2)
    covariance = unbiased * (_mean(x * y) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean(dim=(1, 2, 3)).clamp(-1, 1)


def _mean(x: Tensor) -> Tensor:
    """The mean of every window [B, 1, H - 6, W - 6]."""
    return F.avg_pool2d(x, WINDOW, stride=1)
