"""imagenet_resnet and imagenet_vit, their v0.5 variants, and their minis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from workloads.imagenet import transforms
from workloads.imagenet.digits import SIZE
from workloads.imagenet.minis import DistortedDigits
from workloads.imagenet.photographs import INPUT, Imagenet
from workloads.imagenet.task import VisionTransformer
from workloads.imagenet.transforms import Transform
from workloads.imagenet.vit import Config
from workloads.resnet import ResNet, gelu_tanh
from workloads.targets import read_targets


class ImagenetResnet(Imagenet):
    """ResNet-50 (He et al. 2016, version 1.5) on ImageNet.

    Batch norm is by the statistics of each process's own share of a batch, as in AlgoPerf; under
    DistributedDataParallel the running ones are those of the first process, which it broadcasts.
    """

    name = "imagenet_resnet"
    summary = "photographs of 1,000 kinds (ImageNet JPEGs in --data-dir), ResNet-50"
    validation_target_value = 0.77431
    test_target_value: float | None = 0.656
    max_allowed_runtime_sec: float | None = 66159.0
    eval_period_time_sec: float | None = 510.0
    step_hint = 195999
    compile_model = True
    num_eval_train_examples = 50176
    eval_batch_size = 1024
    model_options: ClassVar[dict[str, Any]] = {}

    def build_model(self) -> nn.Module:
        """The ResNet, initialised from torch's default generator."""
        return ResNet(**self.model_options)


class ImagenetResnetSilu(ImagenetResnet):
    """imagenet_resnet with SiLU: v0.5 variant."""

    name = "imagenet_resnet_silu"
    summary = "imagenet_resnet with SiLU"
    suites = ()
    validation_target_value = 0.75445
    test_target_value = 0.6323
    train_batch_size = 512
    model_options: ClassVar[dict[str, Any]] = {"activation": F.silu}


class ImagenetResnetGelu(ImagenetResnet):
    """imagenet_resnet with GELU (tanh approximation): v0.5 variant."""

    name = "imagenet_resnet_gelu"
    summary = "imagenet_resnet with GELU"
    suites = ()
    validation_target_value = 0.76765
    test_target_value = 0.6519
    train_batch_size = 512
    model_options: ClassVar[dict[str, Any]] = {"activation": gelu_tanh}


class ImagenetResnetLargeBnInit(ImagenetResnet):
    """imagenet_resnet, the last scale of every branch starting at 8: held out in v0.5."""

    name = "imagenet_resnet_large_bn_init"
    summary = "imagenet_resnet, its branches starting at a scale of 8"
    suites = ()
    validation_target_value = 0.76526
    test_target_value = 0.6423
    model_options: ClassVar[dict[str, Any]] = {"last_scale": 8.0}


class ImagenetVit(VisionTransformer, Imagenet):
    """ViT-S/16 (Beyer et al. 2022) on ImageNet, with RandAugment and mixup.

    Under several processes one weight mixes the whole batch, as under one; in AlgoPerf each process
    draws its own for its share.
    """

    name = "imagenet_vit"
    summary = "photographs of 1,000 kinds (ImageNet JPEGs in --data-dir), ViT-S/16"
    validation_target_value = 0.77309
    test_target_value: float | None = 0.6519
    max_allowed_runtime_sec: float | None = 69768.0
    eval_period_time_sec: float | None = 420.0
    step_hint = 167999
    num_eval_train_examples = 51200
    eval_batch_size = 2048
    config = Config()

    def train_transform(self) -> Transform:
        """A random crop, half of them mirrored, and two operations of RandAugment."""
        return transforms.training(INPUT, operations=2)


class ImagenetVitGlu(ImagenetVit):
    """imagenet_vit with gated linear units: v0.5 variant."""

    name = "imagenet_vit_glu"
    summary = "imagenet_vit with gated linear units"
    suites = ()
    validation_target_value = 0.75738
    test_target_value = 0.6359
    train_batch_size = 512
    config = replace(ImagenetVit.config, gated=True)


class ImagenetVitPostLN(ImagenetVit):
    """imagenet_vit with layer norm after the residual sums: v0.5 variant."""

    name = "imagenet_vit_post_ln"
    summary = "imagenet_vit with layer norm after the residual sums"
    suites = ()
    validation_target_value = 0.75312
    test_target_value = 0.6286
    config = replace(ImagenetVit.config, post_norm=True)


class ImagenetVitMap(ImagenetVit):
    """imagenet_vit, its tokens pooled by attention: v0.5 variant."""

    name = "imagenet_vit_map"
    summary = "imagenet_vit, its tokens pooled by attention"
    suites = ()
    validation_target_value = 0.77113
    test_target_value = 0.6523
    config = replace(ImagenetVit.config, pooling=True)


class ImagenetResnetMini(DistortedDigits):
    """The same on distorted digits, with a small ResNet."""

    name = "imagenet_resnet_mini"
    summary = "32x32 distorted digits (made of scikit-learn's), small ResNet with batch norm"
    suites = ()  # it does not separate submissions: see docs/results.md
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1050
    eval_period_steps = 131
    step_hint = 1050

    strength = 1.0

    def train_transform(self) -> Transform:
        """A random crop."""
        return transforms.training(SIZE, area=(0.6, 1.0), flip=False)

    def build_model(self) -> nn.Module:
        """The ResNet, initialised from torch's default generator."""
        return ResNet(blocks=(1, 1, 1), classes=self.num_classes, width=16)


class ImagenetVitMini(VisionTransformer, DistortedDigits):
    """The same on distorted digits, with a small ViT, RandAugment and mixup."""

    name = "imagenet_vit_mini"
    summary = "32x32 distorted digits (made of scikit-learn's), small ViT, RandAugment, mixup"
    suites = ("mini",)
    validation_target_value, test_target_value = read_targets(__file__, name)

    budget_steps = 1250
    eval_period_steps = 156
    step_hint = 1250

    strength = 0.15
    config = Config(patch=4, width=32, depth=2, mlp=64, heads=2, classes=10)

    def train_transform(self) -> Transform:
        """A random crop and an operation of RandAugment."""
        return transforms.training(SIZE, area=(0.9, 1.0), flip=False, operations=1)
