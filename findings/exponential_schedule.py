"""Weight decay at a constant rate is a growing rate without it, in a scale-invariant network."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.training import made_of, train
from submissions import recipe, schedules
from workloads.arrays import Splits
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "In a network made scale-invariant by batch norm, SGD with momentum and weight decay at a "
        "constant rate and SGD without weight decay at an exponentially growing rate give the same "
        "functions step by step"
    ),
    source="Li, Arora 2020, An Exponential Learning Rate Schedule for Deep Learning",
    chosen=(
        "The digits network in float64 with eps = 1e-30 in batch norm, of which only the "
        "convolutions are trained; rate 0.1, momentum 0.9, weight decay 0.005, 300 steps. Logits "
        "of the validation images under batch statistics must agree to 1e-6; as a control, the "
        "constant rate without weight decay must differ by over 1e-2."
    ),
)
RATE, MOMENTUM, DECAY, STEPS = 0.1, 0.9, 0.005, 300
EPS = 1e-30  # torch refuses 0


class ScaleInvariant(Digits):
    """The network of digits in float64; with so small an eps batch norm removes every scale."""

    def build_model(self) -> nn.Module:
        """The network."""
        model = super().build_model().double()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = EPS
        return model

    def load(self) -> Splits:
        """The images in float64."""
        return {
            split: {**columns, "inputs": np.asarray(columns["inputs"], np.float64)}
            for split, columns in super().load().items()
        }


def run(quick: bool) -> Outcome:
    """Trains all three ways and compares the logits."""
    steps = 15 if quick else STEPS
    middle = 1 + MOMENTUM - RATE * DECAY
    alpha = (middle + math.sqrt(middle**2 - 4 * MOMENTUM)) / 2  # root of x^2 - middle x + momentum
    runs = {
        "weight decay": _logits(steps, DECAY, None),
        "growing rate": _logits(steps, 0.0, alpha),
        "neither": _logits(steps, 0.0, None),
    }
    reference = runs.pop("weight decay")
    apart = {
        name: [float((a - b).abs().max()) for a, b in zip(reference, other, strict=True)]
        for name, other in runs.items()
    }
    rates = [RATE * alpha ** (-2 * t - 1) for t in range(steps)]
    figure, (left, right) = panels(FINDING.claim, columns=2)
    left.plot(rates, label="growing rate, no weight decay", **style(0))
    left.axhline(RATE, label=f"constant rate, weight decay {DECAY}", **style(1))
    left.set(yscale="log", xlabel="step", ylabel="learning rate")
    left.legend(frameon=False)
    for number, (name, values) in enumerate(apart.items()):
        right.plot(range(1, steps + 1), values, label=name, **style(2 * number))
    right.set(yscale="log", xlabel="step", ylim=(1e-16, 1e2))
    right.set(ylabel="largest difference of a logit\nfrom those with weight decay")
    right.legend(frameon=False)
    same, control = max(apart["growing rate"]), apart["neither"][-1]
    return Outcome(
        figure=figure,
        numbers={
            "largest difference with the growing rate": same,
            "difference without either, at the end": control,
            "growth of the rate": rates[-1] / rates[0],
            "alpha": alpha,
        },
        checks=[
            Check(f"logits must agree to 1e-6: {same:.1e}", same < 1e-6),
            Check(f"without either they must differ by over 1e-2: {control:.1e}", control > 1e-2),
        ],
    )


def _logits(steps: int, decay: float, alpha: float | None) -> list[Tensor]:
    """The validation images' logits after each step.

    Args:
        steps: Number of steps.
        decay: Weight decay.
        alpha: The rate of step t is RATE alpha^(-2t - 1), and momentum starts where weight decay
            would have left it; None for a constant rate.
    """
    found: list[Tensor] = []
    workload = ScaleInvariant()
    images = workload.examples["validation"]["inputs"]

    def observe(model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            found.append(copy.deepcopy(model).train()(images))  # keeps the running statistics
        return {}

    def make_optimizer(params: Iterable[Any], _: Any, horizon: int) -> torch.optim.Optimizer:
        trained = list(params)
        optimizer = torch.optim.SGD(trained, lr=RATE, momentum=MOMENTUM, weight_decay=decay)
        if alpha is not None:
            for p in trained:
                buffer = p.detach() * ((alpha - 1) / (RATE * alpha))
                optimizer.state[p]["momentum_buffer"] = buffer
        return optimizer

    def growing(optimizer: torch.optim.Optimizer, _: Any, horizon: int) -> LRScheduler:
        assert alpha is not None
        return LambdaLR(optimizer, lambda t: alpha ** (-2 * t - 1))

    functions = recipe.submission(
        make_optimizer,
        schedules.none if alpha is None else growing,
        fixed={},
        make_groups=lambda model, _: [p for n, p in model.named_parameters() if "conv" in n],
    )
    train(made_of("sgd", functions), workload, steps=steps, step_hint=2 * steps, observe=observe)
    return found
