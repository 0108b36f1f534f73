"""Adam beats SGD on a transformer and hardly on a convolutional network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.language import Language
from findings.frame.training import column, known, made_of, train
from harness.spec import Hyperparameters, Workload
from harness.submission.loading import Submission
from submissions import recipe
from workloads.cifar.workload import CifarMini

FINDING = Finding(
    claim=(
        "Between tuned Adam and tuned SGD with momentum the gap is small on a convolutional "
        "network and large on a transformer"
    ),
    source="Ahn, Cheng, Song, Yun, Jadbabaie, Sra 2023, Linear Attention is (Maybe) All You Need "
    "(to Understand Transformer Optimization); Zhang et al. 2020",
    chosen=(
        "cifar_mini, 300 steps at batch 32, and nanogpt_mini, 200 steps at batch 8; cosine "
        "schedules with 10% warm-up, no clipping; Adam with learning rates 1e-3, 3e-3, 1e-2, SGD "
        "with momentum 0.9 and 0.03, 0.1, 0.3; the rate with the lowest final training loss "
        "counts. A gap is the difference of final training losses over Adam's progress since the "
        "first step: below 10% on the convolutional network, over 10% and over twice as large on "
        "the transformer."
    ),
)
STEPS = {"cifar_mini": 300, "nanogpt_mini": 200}
RATES = {"Adam": (1e-3, 3e-3, 1e-2), "SGD": (0.03, 0.1, 0.3)}


def run(quick: bool) -> Outcome:
    """Tunes both optimizers on both workloads."""
    figure, axes = panels(FINDING.claim, columns=2)
    gaps: dict[str, float] = {}
    final: dict[str, dict[str, dict[str, float | None]]] = {}
    for ax, (name, kind) in zip(
        axes, (("cifar_mini", CifarMini), ("nanogpt_mini", Language)), strict=True
    ):
        steps, best = 4 if quick else STEPS[name], {}
        final[name] = {}
        for number, (method, rates) in enumerate(RATES.items()):
            found = {}
            for rate in rates[1:2] if quick else rates:
                found[rate] = _curve(method, rate, kind(), steps)
            final[name][method] = known({rate: curve[1][-1] for rate, curve in found.items()})
            chosen = min(found, key=lambda rate: found[rate][1][-1])
            best[method] = found[chosen][1]
            for rate, curve in found.items():
                is_best = rate == chosen
                label = f"{method}, learning rate {rate:g}" if is_best else None
                ax.plot(*curve, label=label, alpha=1 if is_best else 0.3, **style(number))
        adam, sgd = best["Adam"], best["SGD"]
        gaps[name] = (sgd[-1] - adam[-1]) / (adam[0] - adam[-1])
        title = {"cifar_mini": "convolutional network", "nanogpt_mini": "transformer"}[name]
        ax.set(xlabel="step", ylabel="training loss [nats]", title=f"{title}: gap {gaps[name]:.0%}")
        ax.legend(frameon=False)
    image, text = gaps.values()
    return Outcome(
        figure=figure,
        numbers={"gap": gaps, "final training loss by learning rate": final},
        checks=[
            Check(f"the gap must be below 10% on the convolutional network: {image:.1%}",
                  quick or image < 0.1),
            Check("the gap must be over 10% on the transformer, and over twice as large: "
                  f"{text:.1%}", quick or (text > 0.1 and text > 2 * image)),
        ],
    )  # fmt: skip


def _curve(method: str, rate: float, workload: Workload, steps: int) -> tuple[Any, Any]:
    """Steps and training losses; at the end the loss is infinite if it is not a number."""
    result = train(_optimizer(method, rate), workload, steps=steps, every=max(1, steps // 5),
                   step_hint=round(steps / recipe.HORIZON))  # fmt: skip
    at, losses = column(result, "train/loss")
    return at, [loss if loss == loss else float("inf") for loss in losses]


def _optimizer(method: str, rate: float) -> Submission:
    def make_optimizer(
        params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
    ) -> Optimizer:
        if method == "SGD":
            return torch.optim.SGD(params, lr=rate, momentum=0.9)
        return torch.optim.Adam(params, lr=rate)

    return made_of(method, recipe.submission(make_optimizer, fixed={"warmup_factor": 0.1}))
