"""Parameters of any model: their types, and an initialisation that torch does not have."""

from __future__ import annotations

import math

from torch import Tensor, nn

from harness.spec import ParameterType


def parameter_types(model: nn.Module) -> dict[str, ParameterType]:
    """The type of every parameter, by the kind of module it belongs to."""
    types = {}
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(prefix, recurse=False):
            types[name] = _parameter_type(module, is_bias=name.endswith("bias"))
    return {name: types[name] for name, _ in model.named_parameters()}


def _parameter_type(module: nn.Module, *, is_bias: bool) -> ParameterType:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return ParameterType.BATCH_NORM_BIAS if is_bias else ParameterType.BATCH_NORM_SCALE
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return ParameterType.LAYER_NORM_BIAS if is_bias else ParameterType.LAYER_NORM_SCALE
    if isinstance(module, nn.Embedding):
        return ParameterType.EMBEDDING
    if is_bias:
        return ParameterType.BIAS
    if isinstance(module, nn.modules.conv._ConvNd):
        return ParameterType.CONV_WEIGHT
    return ParameterType.WEIGHT


def lecun_normal_(weight: Tensor) -> Tensor:
    """Fills a weight as flax's lecun_normal: a normal cut at two deviations, variance 1/fan_in.

    The constant is the deviation of a standard normal cut at plus and minus two.
    """
    fan_in = weight[0].numel()
    deviation = math.sqrt(1 / fan_in) / 0.87962566103423978
    return nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
