"""The training loss settles while the gradient does not vanish."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.landscape import fixed_loss, gradient
from findings.frame.training import column, made_of, train
from submissions import recipe, schedules
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "The training loss settles while the full gradient's norm does not go to zero: training "
        "converges in distribution, not to a stationary point"
    ),
    source="Zhang, Li, Sra, Jadbabaie 2022, Neural Network Weights Do Not Converge to Stationary "
    "Points: An Invariant Measure Perspective",
    chosen=(
        "digits with label smoothing 0.1, so that the loss cannot go to zero, as in the paper's "
        "ImageNet; SGD with learning rate 0.3, momentum 0.9 and weight decay 5e-4, both constant, "
        "batch 32, 2,400 steps, an evaluation every 40. Settled: over the last half, the mean "
        "training loss of its two halves must differ by less than 5%. The mean norm of the full "
        "gradient over the last quarter must be over half of its mean over the second quarter. "
        "As the paper does, batch norm normalises by the statistics of the batch, here of all "
        "training images."
    ),
)
STEPS, EVERY, SMOOTHING = 2400, 40, 0.1


class SmoothedDigits(Digits):
    """digits, whose training loss has smoothed labels."""

    def loss_fn(
        self,
        label_batch: torch.Tensor,
        logits_batch: torch.Tensor,
        mask_batch: torch.Tensor | None = None,
        label_smoothing: float = SMOOTHING,
    ) -> dict[str, torch.Tensor]:
        """The loss."""
        return super().loss_fn(label_batch, logits_batch, mask_batch, SMOOTHING)


def run(quick: bool) -> Outcome:
    """Trains at a constant rate and measures the full gradient on the way."""
    workload = SmoothedDigits()

    def observe(model: nn.Module) -> dict[str, float]:
        loss = fixed_loss(workload, model, workload.num_train_examples)
        return {"full_loss": loss().item(), "norm": gradient(model, loss).norm().item()}

    functions = recipe.submission(
        lambda params, point, horizon: torch.optim.SGD(
            params, lr=0.3, momentum=0.9, weight_decay=5e-4
        ),
        schedules.none,
        fixed={},
    )
    steps, every = (80, 5) if quick else (STEPS, EVERY)
    result = train(made_of("sgd", functions), workload, steps=steps, every=every, observe=observe)
    at, losses = column(result, "validation/full_loss")
    norms = column(result, "validation/norm")[1]
    figure, (left, right) = panels(FINDING.claim, columns=2)
    left.plot(at, losses, **style(0))
    left.set(xlabel="step", ylabel="training loss, labels smoothed [nats]", yscale="log")
    right.plot(at, norms, **style(1))
    right.set(xlabel="step", ylabel="norm of the full gradient", yscale="log")
    right.set_ylim(min(1e-2, min(norms)), 2 * max(norms))
    loss_q = [float(np.mean(part)) for part in np.array_split(losses, 4)]
    norm_q = [float(np.mean(part)) for part in np.array_split(norms, 4)]
    change, left_over = abs(loss_q[3] / loss_q[2] - 1), norm_q[3] / norm_q[1]
    return Outcome(
        figure=figure,
        numbers={
            "mean training loss by quarters": loss_q,
            "mean norm of the gradient by quarters": norm_q,
            "first and last norm": [norms[0], norms[-1]],
        },
        checks=[
            *([] if quick else [
                Check(f"the loss must change by less than 5% in the last half: {change:.1%}",
                      change < 0.05),
            ]),
            Check("the last quarter's gradient must be over half of the second's: "
                  f"{left_over:.2f}", quick or left_over > 0.5),
        ],
    )  # fmt: skip
