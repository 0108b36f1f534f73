"""Classifying images: the batches, mixup, loss and metric of imagenet's workloads and minis.

Shapes: B images, C = 3 channels, H x W pixels, K classes.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from harness.spec import (
    Batch,
    LossType,
    ModelAuxiliaryState,
    ParameterContainer,
    ParameterType,
    RandomState,
)
from workloads.batching import epochs, seed_of
from workloads.distributed import own_part, summed, world
from workloads.imagenet.loading import Chunks, Images, Keys, batches
from workloads.imagenet.transforms import Transform
from workloads.imagenet.vit import Config, ViT
from workloads.modes import eval_mode
from workloads.prepared import PreparedWorkload

MEAN = (0.485, 0.456, 0.406)  # of red, green and blue from 0 to 1
DEVIATION = (0.229, 0.224, 0.225)


class ImageClassification(PreparedWorkload):
    """What the workloads on images share: batches, loss and metric.

    An epoch is a random permutation of the training images; the incomplete batch at its end is
    dropped. What is random about an image is a pure function of seed, epoch and image.

    Attributes:
        num_classes: The number of classes.
        workers: The number of processes that make batches; 0 for the training's own.
        mixup_alpha: The parameter of mixup's Beta distribution; None for no mixup.
    """

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "accuracy"
    target_direction = "max"
    num_classes: int
    workers = 0
    mixup_alpha: float | None = None

    @abc.abstractmethod
    def train_transform(self) -> Transform:
        """What becomes of an image in training."""

    @abc.abstractmethod
    def eval_transform(self, split: str) -> Transform:
        """What becomes of an image in the evaluation of a split."""

    def build_input_queue(
        self, rng: RandomState, split: str, global_batch_size: int, start: int = 0
    ) -> Iterator[Batch]:
        """An endless iterator over batches; batch i is a pure function of (rng, i).

        "inputs" [B, C, H, W] and "targets": classes [B], or with mixup their weights [B, K].
        """
        images: Images = self.examples[split]
        seed, own = seed_of(rng), own_part(global_batch_size)
        mine = np.arange(own.start, own.stop)
        if self.mixup_alpha is not None:
            mine = np.concatenate([[own.start - 1], mine])  # the first one's partner
        keys = _training_keys(len(images.labels), seed, global_batch_size, mine, start)
        chunks = Chunks(images, self.train_transform())
        loaded = batches(chunks, keys, self.device, len(mine), self.workers)
        return (
            self._training_batch(*batch, np.random.default_rng([seed, 0, 0, 1 + number]))
            for number, batch in enumerate(loaded, start)
        )

    def _training_batch(
        self, pixels_bhwc: Tensor, labels_b: Tensor, draw: np.random.Generator
    ) -> Batch:
        inputs_bchw = self.normalised(pixels_bhwc)
        if self.mixup_alpha is None:
            return {"inputs": inputs_bchw, "targets": labels_b}
        weight = draw.beta(self.mixup_alpha, self.mixup_alpha)
        return mixed(inputs_bchw, labels_b, weight, self.num_classes)

    def eval_model(
        self, params: ParameterContainer, model_state: ModelAuxiliaryState, split: str
    ) -> dict[str, float]:
        """Accuracy and mean loss of a split, each image once.

        Of the training images a random sample, the same at every evaluation.
        """
        images: Images = self.examples[split]
        numbers = np.arange(len(images.labels))
        if split == "train":
            count = self.eval_count(split, len(numbers))
            numbers = np.sort(np.random.default_rng(0).permutation(numbers)[:count])
        rank, processes = world()
        size = self.eval_batch_size
        steps = -(-len(numbers) // (processes * size))  # of every process alike, as DDP needs it
        keys = [((0,), share) for share in np.array_split(numbers[rank::processes], steps)]
        chunks = Chunks(images, self.eval_transform(split))
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        with eval_mode(params):
            for pixels_bhwc, labels_b in batches(chunks, keys, self.device, size, self.workers):
                logits_bk = params(self.normalised(pixels_bhwc))
                _, losses_b = self.losses(labels_b, logits_bk)
                is_right_b = logits_bk.argmax(1) == labels_b
                total += torch.stack([is_right_b.double().sum(), losses_b.double().sum()])
        correct_sum, loss_sum = total.tolist()
        sums = summed({"accuracy": correct_sum, "loss": loss_sum}, self.device)
        return {name: value / len(numbers) for name, value in sums.items()}

    def eval_arrays(self, split: str) -> Any:
        """The labels of a split, and 64 of its images."""
        images: Images = self.examples[split]
        numbers = np.unique(np.linspace(0, len(images.labels) - 1, 64).astype(int)).tolist()
        return images.labels, [np.asarray(images.image(number)) for number in numbers]

    def normalised(self, pixels_bhwc: Tensor) -> Tensor:
        """Inputs [B, C, H, W] of pixels from 0 to 255."""
        mean_c, deviation_c = self._scale
        return ((pixels_bhwc - mean_c) / deviation_c).permute(0, 3, 1, 2).contiguous()

    @cached_property
    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation [C] of pixels, copied to the device once: a copy waits for it."""
        mean_c, deviation_c = (torch.tensor(x, device=self.device) for x in (MEAN, DEVIATION))
        return mean_c * 255, deviation_c * 255


class VisionTransformer(ImageClassification):
    """What imagenet_vit and imagenet_vit_mini share: the model, and mixup.

    Attributes:
        config: The model's.
    """

    config: Config
    mixup_alpha = 0.2
    dropout_rate = 0.0

    def build_model(self) -> nn.Module:
        """The ViT, initialised from torch's default generator."""
        return ViT(self.config)

    @property
    def model_params_types(self) -> dict[str, ParameterType]:
        """Parameter name to type; those of self-attention have types of their own."""
        types = super().model_params_types
        for name in types:
            *_, layer, kind = name.split(".")
            if ".self_attention1." in name:
                weight = ParameterType[f"ATTENTION_{_ATTENTION[layer]}"]
                types[name] = weight if kind == "weight" else ParameterType.ATTENTION_BIAS
        return types

    def is_output_params(self, param_key: str) -> bool:
        """Whether it is of the last linear layer."""
        return param_key.startswith("head.")


_ATTENTION = {"query": "Q", "key": "K", "value": "V", "out": "OUT"}


def _training_keys(
    count: int, seed: int, batch_size: int, mine: np.ndarray, start: int
) -> Iterator[Keys]:
    """Which images are at the places `mine` of every batch; place -1 is a batch's last."""
    for epoch, begins in epochs(count, batch_size, start):
        order = np.random.default_rng([seed, 1 + epoch]).permutation(count)
        for begin in begins:
            yield (seed, 1 + epoch), order[begin : begin + batch_size][mine]


def mixed(inputs: Tensor, labels: Tensor, weight: float, classes: int) -> Batch:
    """Mixup (Zhang et al. 2018): each example with the one before it, one weight for all.

    Args:
        inputs: [1 + B, C, H, W]; the first is the partner of the second alone.
        labels: [1 + B].
        weight: An example's weight; its partner has the rest.
        classes: K, the number of classes.

    Returns:
        "inputs" [B, C, H, W] and "targets" [B, K].
    """
    targets = F.one_hot(labels, classes).float()
    return {
        name: weight * x[1:] + (1 - weight) * x[:-1]
        for name, x in {"inputs": inputs, "targets": targets}.items()
    }
