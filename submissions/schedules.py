"""Learning-rate schedules: a linear warm-up, then a fall, on torch.optim.lr_scheduler.

Every schedule is made from an optimizer, the hyperparameters and the horizon: the number of steps
at which it has come to its end. It multiplies the learning rates that the optimizer starts with.
`warmup_factor` of the hyperparameters is the part of the horizon that the warm-up takes; without it
there is none. Below, `w` is the length of the warm-up, `t` the number of steps since, `T` the
horizon less the warm-up, and `f` the factor.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)

from harness.spec import Hyperparameters

MakeSchedule = Callable[[Optimizer, Hyperparameters, int], LRScheduler | None]
Part = tuple[LRScheduler, int]  # and its length in steps


def warmup_steps(hyperparameters: Hyperparameters, horizon: int) -> int:
    """The steps of warm-up: the part `warmup_factor` of the horizon, one at least; 0 without it."""
    if not hasattr(hyperparameters, "warmup_factor"):
        return 0
    return max(1, int(hyperparameters.warmup_factor * horizon))


def _after_warmup(
    fall: Callable[[Optimizer, Hyperparameters, int, int], LRScheduler],
) -> MakeSchedule:
    """The schedule that rises to the learning rate and then follows `fall`, given `w` and `T`."""

    @functools.wraps(fall)
    def schedule(
        optimizer: Optimizer, hyperparameters: Hyperparameters, horizon: int
    ) -> LRScheduler:
        warmup = warmup_steps(hyperparameters, horizon)
        steps = max(1, horizon - warmup)
        rise = _rise(optimizer, warmup)
        falls = [(fall(optimizer, hyperparameters, warmup, steps), steps)]
        return _in_sequence(optimizer, rise + falls)

    return schedule


def _rise(optimizer: Optimizer, steps: int) -> list[Part]:
    """A linear warm-up, from next to nothing since torch refuses 0; none of no steps."""
    if steps == 0:
        return []
    rise = LinearLR(optimizer, start_factor=1e-10, end_factor=1.0, total_iters=steps)
    return [(rise, steps)]


def _in_sequence(optimizer: Optimizer, parts: list[Part]) -> LRScheduler:
    ends = list(itertools.accumulate(steps for _, steps in parts))
    return SequentialLR(optimizer, [part for part, _ in parts], milestones=ends[:-1])


def none(optimizer: Optimizer, hyperparameters: Hyperparameters, horizon: int) -> None:
    """For optimizers that bring their own, or need none."""


@_after_warmup
def constant(
    optimizer: Optimizer, hyperparameters: Hyperparameters, warmup: int, steps: int
) -> LRScheduler:
    """Stays: f = 1."""
    return ConstantLR(optimizer, factor=1.0, total_iters=0)


@_after_warmup
def linear(
    optimizer: Optimizer, hyperparameters: Hyperparameters, warmup: int, steps: int
) -> LRScheduler:
    """A straight line: f = 1 - t / T."""
    return LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)


@_after_warmup
def exponential(
    optimizer: Optimizer, hyperparameters: Hyperparameters, warmup: int, steps: int
) -> LRScheduler:
    """By the same part at every step: f = e^(t / T), e the `end_factor`, 0.01 without it."""
    return ExponentialLR(optimizer, getattr(hyperparameters, "end_factor", 0.01) ** (1 / steps))


@_after_warmup
def cosine(
    optimizer: Optimizer, hyperparameters: Hyperparameters, warmup: int, steps: int
) -> LRScheduler:
    """Half a wave: f = (1 + cos(pi t / T)) / 2 (Loshchilov and Hutter 2017, eq. 5)."""
    return CosineAnnealingLR(optimizer, T_max=steps)


def cyclic(optimizer: Optimizer, hyperparameters: Hyperparameters, horizon: int) -> LRScheduler:
    """`cosine` over and over, warm-up included; `cycles` times, 2 without that hyperparameter."""
    cycles = getattr(hyperparameters, "cycles", 2)
    length = math.ceil(horizon / cycles)
    warmup = warmup_steps(hyperparameters, length)
    steps = max(1, length - warmup)
    parts: list[Part] = []
    for _ in range(cycles):
        parts += [*_rise(optimizer, warmup), (CosineAnnealingLR(optimizer, T_max=steps), steps)]
    return _in_sequence(optimizer, parts)


@_after_warmup
def warmup_stable_decay(
    optimizer: Optimizer, hyperparameters: Hyperparameters, warmup: int, steps: int
) -> LRScheduler:
    """Stays, then f = 1 - sqrt((t - (T - D)) / D) over the last D steps (Hägele et al. 2024).

    `decay_factor` of the hyperparameters is the part of T that D is; 0.2 without it.
    """
    decay = max(1, int(getattr(hyperparameters, "decay_factor", 0.2) * steps))
    start = steps - decay
    return LambdaLR(optimizer, lambda t: 1 - math.sqrt(min(max(t - start, 0) / decay, 1)))


@_after_warmup
def inverse_sqrt(
    optimizer: Optimizer, hyperparameters: Hyperparameters, warmup: int, steps: int
) -> LRScheduler:
    """Without an end: f = sqrt(w / (w + t)), w at least 1 (Vaswani et al. 2017, eq. 3)."""
    warmup = max(1, warmup)
    return LambdaLR(optimizer, lambda t: math.sqrt(warmup / (warmup + t)))


SCHEDULES: dict[str, MakeSchedule] = {
    "none": none,
    "constant": constant,
    "linear": linear,
    "exponential": exponential,
    "cosine": cosine,
    "cyclic": cyclic,
    "wsd": warmup_stable_decay,
    "sqrt": inverse_sqrt,
}


def linear_scaling(learning_rate: float, batch_size: int, reference_batch_size: int) -> float:
    """The rate in proportion to the batch size (Goyal et al. 2017), for SGD."""
    return learning_rate * batch_size / reference_batch_size


def sqrt_scaling(learning_rate: float, batch_size: int, reference_batch_size: int) -> float:
    """The rate in proportion to the batch size's root (Malladi et al. 2022), for Adam's kin."""
    return learning_rate * math.sqrt(batch_size / reference_batch_size)
