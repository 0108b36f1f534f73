"""Images from a part of k-space: the model, loss and metric of fastmri and of its mini.

Shapes: B slices, H x W pixels.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from torch import nn

from harness.spec import Batch, LossType, Tensor
from workloads.arrays import ArrayWorkload
from workloads.fastmri.model import UNet
from workloads.fastmri.ssim import ssim
from workloads.prepared import PreparedWorkload


class UndersampledImages(PreparedWorkload, ArrayWorkload):
    """What fastmri and fastmri_mini share: model, loss and metric.

    The loss is the absolute error, a mean over the pixels of a slice. The metric is the structural
    similarity of the images, their mean and deviation put back.
    """

    loss_type = LossType.MEAN_ABSOLUTE_ERROR
    target_metric_name = "ssim"
    target_direction = "max"
    dropout_rate = 0.0
    model_options: ClassVar[dict[str, Any]] = {}

    def build_model(self) -> nn.Module:
        """The U-Net, initialised from torch's default generator."""
        return UNet(**self.model_options)

    def is_output_params(self, param_key: str) -> bool:
        """Whether it is of the 1x1 convolution at the end."""
        return re.fullmatch(r"up_conv\.\d+\.1\.(weight|bias)", param_key) is not None

    def per_example_metrics(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Structural similarity and absolute error, [B] each."""
        images_bhw, references_bhw = logits, batch["targets"]
        mean_b11, std_b11 = batch["mean"][:, None, None], batch["std"][:, None, None]
        similarity_b = ssim(
            images_bhw * std_b11 + mean_b11,
            references_bhw * std_b11 + mean_b11,
            batch["volume_max"],
        )
        _, losses_b = self.losses(references_bhw, images_bhw)
        return {"ssim": similarity_b, "loss": losses_b}
