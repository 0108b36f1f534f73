"""A network that has learnt its training examples by heart generalises much later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

import workloads
from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.training import column, made_of, train
from harness.spec import Hyperparameters
from harness.submission.loading import Submission
from scoring.records import Until
from submissions import recipe

FINDING = Finding(
    claim=(
        "On division modulo a prime, training accuracy is 1 long before validation accuracy leaves "
        "chance, which then rises to 0.99; the delay shrinks with weight decay"
    ),
    source="Power, Burda, Edwards, Babuschkin, Misra 2022, Grokking: Generalization Beyond "
    "Overfitting on Small Algorithmic Datasets",
    chosen=(
        "a / b mod 47 (97 in the paper), half of all pairs to train on, a decoder of 2 layers, "
        "width 128 and 4 heads, AdamW with learning rate 1e-3, betas 0.9 and 0.98, batch 512, 10 "
        "steps of warm-up; weight decay 1 for at most 1,500 steps, and 0.3 for as many steps as "
        "weight decay 1 needed. The first step with a training accuracy of 0.99 must come before "
        "half of the steps to a validation accuracy of 0.99; validation accuracy must be below 0.2 "
        "there; and with weight decay 0.3 it must not have reached 0.99 by then."
    ),
)
PRIME, STEPS, EVERY, DECAYS = 47, 1500, 25, (1.0, 0.3)


def run(quick: bool) -> Outcome:
    """Trains with both weight decays, the second as long as the first."""
    figure, axes = panels(FINDING.claim, columns=2, sharey=True)
    steps = 12 if quick else STEPS
    last, learnt, generalised, at_learnt, best = [], [], [], [], []
    for ax, decay in zip(axes, DECAYS, strict=True):
        result = train(_adamw(decay), workloads.get("modular_division"), steps=steps, every=EVERY,
                       step_hint=2 * STEPS, until=Until.VALIDATION)  # fmt: skip
        at, training = column(result, "train/accuracy")
        held_out = column(result, "validation/accuracy")[1]
        learnt.append(_first(at, training))
        generalised.append(_first(at, held_out))
        at_learnt.append(held_out[at.index(learnt[-1])] if learnt[-1] else None)
        best.append(max(held_out))
        last.append(at[-1])
        steps = last[0]
        ax.plot(at, training, label="training", **style(0))
        ax.plot(at, held_out, label="validation", **style(1))
        ax.axhline(1 / PRIME, color="0.6", lw=0.8, ls=":")
        ax.set(xscale="log", xlabel="step", title=f"weight decay {decay:g}", ylim=(-0.02, 1.03))
    axes[0].set(ylabel="accuracy")
    axes[0].legend(frameon=False, loc="center left")
    fits, groks, there = learnt[0] or np.inf, generalised[0] or np.inf, at_learnt[0]
    return Outcome(
        figure=figure,
        numbers={
            "weight decays": list(DECAYS),
            "first step with a training accuracy of 0.99": learnt,
            "first step with a validation accuracy of 0.99": generalised,
            "validation accuracy when training accuracy is 0.99": at_learnt,
            "highest validation accuracy": best,
            "steps": last,
        },
        checks=[
            Check("training accuracy must be 0.99 before half of the steps to a validation "
                  f"accuracy of 0.99: {fits} and {groks}",
                  quick or (fits < groks / 2 and groks < np.inf)),
            Check(f"validation accuracy must be below 0.2 when training is learnt: {there}",
                  quick or (there is not None and there < 0.2)),
            Check("weight decay 0.3 must not have reached 0.99 by then: "
                  f"{best[1]:.2f}", quick or generalised[1] is None),
        ],
    )  # fmt: skip


def _first(at: list[int], accuracies: list[float]) -> int | None:
    """The first step with an accuracy of 0.99."""
    return next((s for s, value in zip(at, accuracies, strict=True) if value >= 0.99), None)


def _adamw(decay: float) -> Submission:
    def make_optimizer(
        params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
    ) -> Optimizer:
        return torch.optim.AdamW(params, lr=1e-3, betas=(0.9, 0.98), weight_decay=decay)

    def make_schedule(
        optimizer: Optimizer, hyperparameters: Hyperparameters, horizon: int
    ) -> LRScheduler:
        return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))

    return made_of("adamw", recipe.submission(make_optimizer, make_schedule, fixed={}))
