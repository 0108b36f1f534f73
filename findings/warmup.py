"""Large batches with large rates need a warm-up, and a gradual one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.training import column, made_of, train
from harness.spec import Hyperparameters
from harness.submission.loading import Submission
from submissions import recipe
from submissions.schedules import linear_scaling
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "With a large batch and a large learning rate, no warm-up ends worse than a constant "
        "warm-up, and that worse than a gradual one"
    ),
    source="Goyal et al. 2017, Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, table 2",
    chosen=(
        "digits, SGD with Nesterov momentum 0.9 and weight decay 1e-4, the rate 0.1 at batch 32 "
        "scaled in proportion to batch 512, 1.6. The paper's 90 epochs, of 2 steps here, the first "
        "5 a warm-up: none, at the unscaled rate, or rising linearly from it; then the paper's "
        "falls to a tenth after 1/3, 2/3 and 8/9 of training. Five seeds; means of the final "
        "validation accuracies must rise from none to constant to gradual. The network is small "
        "and has batch norm: the paper's is a ResNet-50."
    ),
)
BATCH, BASE_RATE, EPOCHS, WARMUP, SEEDS = 512, 0.1, 90, 5, (0, 1, 2, 3, 4)
KINDS = ("no warm-up", "constant warm-up", "gradual warm-up")


def run(quick: bool) -> Outcome:
    """Trains with every kind of warm-up."""
    per_epoch = Digits.num_train_examples // BATCH
    steps = (8 if quick else EPOCHS) * per_epoch
    figure, (left, right) = panels(FINDING.claim, columns=2)
    final: dict[str, list[float]] = {}
    for number, kind in enumerate(KINDS):
        curves = []
        for seed in SEEDS[:1] if quick else SEEDS:
            result = train(_sgd(kind, steps, per_epoch), Digits(), steps=steps,
                           every=3 * per_epoch, seed=seed, batch_size=BATCH,
                           step_hint=2 * steps)  # fmt: skip
            at, accuracies = column(result, "validation/accuracy")
            curves.append((column(result, "train/loss")[1], accuracies))
        final[kind] = [accuracies[-1] for _, accuracies in curves]
        epochs = np.array(at) / per_epoch
        for ax, place in ((left, 0), (right, 1)):
            values = [curve[place] for curve in curves]
            ax.plot(epochs, np.mean(values, axis=0), label=kind, **style(number))
            ax.fill_between(epochs, np.min(values, axis=0), np.max(values, axis=0), lw=0,
                            color=style(number)["color"], alpha=0.15)  # fmt: skip
    left.set(xlabel="epoch", ylabel="training loss [nats]", yscale="log")
    right.set(xlabel="epoch", ylabel="validation accuracy")
    for ax in (left, right):
        ax.axvspan(0, WARMUP, color="0.93", zorder=0)
    right.legend(frameon=False, loc="lower right")
    left.set_title("means and ranges of seeds; grey: warm-up", fontsize=10)
    means = {kind: float(np.mean(values)) for kind, values in final.items()}
    none, constant, gradual = means.values()
    shown = ", ".join(f"{kind} {value:.3f}" for kind, value in means.items())
    return Outcome(
        figure=figure,
        numbers={"final validation accuracy": final, "means": means},
        checks=[Check(f"accuracy must rise from none to constant to gradual: {shown}",
                      quick or none < constant < gradual)],
    )  # fmt: skip


def _sgd(kind: str, steps: int, per_epoch: int) -> Submission:
    """SGD with Nesterov momentum, warmed up in one of three ways."""
    rate = linear_scaling(BASE_RATE, BATCH, Digits.train_batch_size)

    def make_optimizer(params: Iterable[Any], point: Hyperparameters, horizon: int) -> Optimizer:
        return torch.optim.SGD(params, lr=rate, momentum=0.9, weight_decay=1e-4, nesterov=True)

    def factor(step: int) -> float:
        warmup, low = WARMUP * per_epoch, BASE_RATE / rate
        if step < warmup and kind == "constant warm-up":
            return low
        if step < warmup and kind == "gradual warm-up":
            return low + (1 - low) * step / warmup
        return float(0.1 ** sum(step >= part * steps for part in (1 / 3, 2 / 3, 8 / 9)))

    def make_schedule(optimizer: Optimizer, point: Hyperparameters, horizon: int) -> LRScheduler:
        return LambdaLR(optimizer, factor)

    return made_of("sgd", recipe.submission(make_optimizer, make_schedule, fixed={}))
