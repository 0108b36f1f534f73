"""SVRG's variance exceeds SGD's soon after the snapshot in a network, so that it is no faster.

Shapes: K batches, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.landscape import fixed_loss, gradient
from findings.frame.training import column, known, made_of, train
from harness.spec import ForwardPassMode, Hyperparameters
from submissions import recipe, schedules
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "In a convolutional network the variance of SVRG's estimate exceeds that of SGD's within "
        "an epoch of the snapshot, so that SVRG is no faster"
    ),
    source="Defazio, Bottou 2019, On the Ineffectiveness of Variance Reduced Optimization for Deep "
    "Learning",
    chosen=(
        "digits by two convolutions without batch norm, batch 32, an epoch of 33 steps. SGD with "
        "learning rate 0.1 and momentum 0.9, as in the paper; snapshots at the start of epochs 2, "
        "6 and 12, and variances over all batches of a fixed partition after 1, 2, 4, 8, 16 and 33 "
        "steps: the ratio must exceed 1 after 33 steps in each. Then SGD and SVRG without "
        "momentum, a snapshot per epoch, rates 0.03, 0.1 and 0.3, 30 epochs: SVRG's best final "
        "training loss at equal steps (of which each of SVRG's costs three times as many "
        "gradients) must not be below 0.9 times SGD's."
    ),
)
BATCH, PER_EPOCH, EPOCHS, SNAPSHOTS = 32, 33, 30, (2, 6, 12)
OFFSETS, RATES = (1, 2, 4, 8, 16, 33), (0.03, 0.1, 0.3)


class PlainDigits(Digits):
    """digits by a convolutional network without batch norm."""

    def build_model(self) -> nn.Module:
        """The network."""
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip


class Svrg(Optimizer):
    """SVRG (Johnson, Zhang 2013): x <- x - rate (g_B(x) - g_B(snapshot) + g(snapshot)).

    Args:
        params: The parameters.
        rate: The learning rate.
        full: Computes the full gradient [P] at the present parameters.
    """

    def __init__(self, params: Iterable[Any], rate: float, full: Callable[[], Tensor]) -> None:
        super().__init__(params, {"lr": rate})
        self._full, self._steps = full, 0

    def step(self, closure: Any = None) -> Any:
        """One step; a snapshot is taken at the start of every epoch."""
        parameters = self.param_groups[0]["params"]
        here_p = parameters_to_vector(parameters).detach().clone()
        if self._steps % PER_EPOCH == 0:
            self._at_p, self._mean_p = here_p, self._full()
        self._steps += 1
        vector_to_parameters(self._at_p.clone(), parameters)
        closure()
        old_p = parameters_to_vector([p.grad for p in parameters]).clone()
        vector_to_parameters(here_p, parameters)
        loss = closure()
        new_p = parameters_to_vector([p.grad for p in parameters])
        rate = self.param_groups[0]["lr"]
        vector_to_parameters(here_p - rate * (new_p - old_p + self._mean_p), parameters)
        return loss


def run(quick: bool) -> Outcome:
    """Measures variances on the way of SGD, then trains with both."""
    figure, (left, right) = panels(FINDING.claim, columns=2)
    snapshots = SNAPSHOTS[:1] if quick else SNAPSHOTS
    ratios = _variances(snapshots)
    for number, (epoch, found) in enumerate(ratios.items()):
        left.plot(OFFSETS, found, marker="o", ms=4, label=f"epoch {epoch}", **style(number))
    left.axhline(1, color="0.5", lw=0.9)
    left.set(xscale="log", yscale="log", xlabel="steps since the snapshot (an epoch: 33)")
    left.set(ylabel="variance of SVRG over that of SGD")
    left.legend(frameon=False, title="snapshot at")
    final: dict[str, dict[str, float | None]] = {}
    lowest: list[float] = []
    for number, name in enumerate(("SGD", "SVRG")):
        curves = {}
        for rate in RATES[1:2] if quick else RATES:
            curves[rate] = _train(name, rate, 2 if quick else EPOCHS)
        ends = {rate: losses[-1] for rate, (_, losses) in curves.items()}
        final[name] = known(ends)
        best = min((r for r in ends if np.isfinite(ends[r])), key=ends.__getitem__)
        lowest.append(ends[best])
        at, losses = curves[best]
        label = f"{name}, learning rate {best:g}"
        right.plot(np.array(at) / PER_EPOCH, losses, label=label, **style(number))
    right.set(yscale="log", xlabel="epoch", ylabel="training loss [nats]")
    right.legend(frameon=False)
    after = [found[-1] for found in ratios.values()]
    sgd, svrg = lowest
    shown = ", ".join(f"{ratio:.2f}" for ratio in after)
    return Outcome(
        figure=figure,
        numbers={
            "ratio of variances by epoch of the snapshot": {str(e): r for e, r in ratios.items()},
            "steps since the snapshot": list(OFFSETS),
            "final training loss by learning rate": final,
        },
        checks=[
            Check(f"the ratio must exceed 1 an epoch after each snapshot: {shown}",
                  quick or min(after) > 1),
            Check("SVRG's best loss must not be below 0.9 times SGD's: "
                  f"{svrg:.3g} and {sgd:.3g}", quick or svrg >= 0.9 * sgd),
        ],
    )  # fmt: skip


def _gradients(workload: PlainDigits, model: nn.Module) -> Tensor:
    """The gradients [K, P] of the batches of a fixed partition."""
    queue = workload.build_input_queue((0, 5), "train", BATCH)
    grads = []
    for _ in range(PER_EPOCH):
        batch = next(queue)

        def loss(batch: Any = batch) -> Tensor:
            logits, _ = workload.model_fn(model, batch, None, ForwardPassMode.TRAIN, (0, 0), True)
            summed: Tensor = workload.loss_fn(batch["targets"], logits)["summed"]
            return summed / BATCH

        grads.append(gradient(model, loss))
    return torch.stack(grads)


def _variances(epochs: tuple[int, ...]) -> dict[int, list[float]]:
    """The ratio of variances at OFFSETS after the start of epochs."""
    workload = PlainDigits()
    snapshot: dict[str, Tensor] = {}
    starts = {epoch * PER_EPOCH: epoch for epoch in epochs}
    wanted = {s + offset: epoch for s, epoch in starts.items() for offset in OFFSETS}
    ratios: dict[int, list[float]] = {epoch: [] for epoch in epochs}
    step = 0

    def observe(model: nn.Module) -> dict[str, float]:
        nonlocal step
        step += 1
        if step in wanted:
            new_kp = _gradients(workload, model)
            change_kp = new_kp - snapshot["kp"]
            variance = (new_kp - new_kp.mean(0)).square().sum()
            reduced = (change_kp - change_kp.mean(0)).square().sum()
            ratios[wanted[step]].append(float(reduced / variance))
        if step in starts:
            snapshot["kp"] = _gradients(workload, model)
        return {}

    functions = recipe.submission(
        lambda params, point, horizon: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        schedules.none,
        fixed={},
    )
    train(made_of("sgd", functions), workload, steps=max(wanted), every=1, batch_size=BATCH,
          observe=observe)  # fmt: skip
    return ratios


def _train(name: str, rate: float, epochs: int) -> tuple[list[int], list[float]]:
    """Steps and training losses."""
    workload = PlainDigits()
    kept: list[nn.Module] = []

    def make_optimizer(
        params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
    ) -> Optimizer:
        (model,) = kept
        if name == "SGD":
            return torch.optim.SGD(params, lr=rate)
        loss = fixed_loss(workload, model, workload.num_train_examples)
        return Svrg(params, rate, lambda: gradient(model, loss))

    def make_groups(model: nn.Module, workload: Any) -> Iterable[Tensor]:
        kept[:] = [model]
        return model.parameters()

    functions = recipe.submission(make_optimizer, schedules.none, {}, make_groups)
    result = train(made_of(name.lower(), functions), workload, steps=epochs * PER_EPOCH,
                   every=PER_EPOCH, batch_size=BATCH)  # fmt: skip
    return column(result, "train/loss")
