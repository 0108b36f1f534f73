"""Gradient descent with large steps leaves sharp minima; large batches end in sharper ones.

Shapes: G points of a grid, T steps.
"""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import nn

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.landscape import fixed_loss, largest_eigenvalues
from findings.frame.training import column, made_of, train
from submissions import recipe, schedules
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "Gradient descent stays in a minimum only if its step is below 2 / curvature, so that "
        "large steps leave sharp minima and end in wide ones; large batches end in sharper minima "
        "than small ones"
    ),
    source="Keskar et al. 2017, On Large-Batch Training for Deep Learning; Cohen et al. 2021, "
    "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability",
    chosen=(
        "f(x) = x^2 / 20 - 1.2 exp(-8 (x + 1.5)^2) - 2 exp(-(x - 2)^2 / 2): a narrow and a wide "
        "minimum. From x = -1.8, 200 steps with 0.5 and with 3 times 2 / curvature of the narrow "
        "minimum; with the small step and normal noise of deviation 3 on the gradient, 50 runs. "
        "The small step must end in the narrow minimum, the large one in the wide one, and noise "
        "must carry more than half of the runs out. On digits SGD with learning rate 0.05, "
        "constant, batches of 16 and 512, three seeds, 6,000 and 600 steps, since both reach a "
        "training loss of about 0.01 or less there: the largest eigenvalue of the Hessian, over "
        "all training images, must be larger for the large batch in all seeds."
    ),
)
NARROW, WIDE, START = -1.5, 2.0, -1.8
ROUNDS, RUNS, NOISE = 200, 50, 3.0
BATCHES, RATE, SEEDS = {16: 6000, 512: 600}, 0.05, (0, 1, 2)


def run(quick: bool) -> Outcome:
    """Descends in one dimension, then trains networks and computes eigenvalues."""
    figure, (left, middle, right) = panels(FINDING.claim, columns=3)
    grid_g = np.linspace(-3, 4.5, 3001)
    values_g = _function(grid_g)
    near = grid_g[np.abs(grid_g - NARROW) < 0.6]
    narrow = float(near[_function(near).argmin()])
    curvature = _curvature(narrow)
    limit = 2 / curvature
    paths = {factor: _descend(factor * limit, 0.0, 0) for factor in (0.5, 3.0)}
    ends = [_descend(0.5 * limit, NOISE, seed)[-1] for seed in range(RUNS)]
    out = float(np.mean([abs(end - narrow) > 0.6 for end in ends]))
    left.plot(grid_g, values_g, color="0.45", lw=1.6)
    for number, (factor, path_t) in enumerate(paths.items()):
        label = f"step {factor:g} x 2 / curvature"
        color = style(number)["color"]
        left.plot(path_t, _function(path_t), "o-", ms=4, lw=0.8, label=label, color=color)
    left.set(xlabel="x", ylabel="f(x)", title="one dimension", ylim=(-2, 1.6))
    left.legend(frameon=False, loc="upper right")
    middle.hist(ends, bins=np.linspace(-3, 4.5, 46).tolist(), color=style(2)["color"])
    middle.plot(grid_g, 12 + 5 * values_g, color="0.45", lw=1.6)
    middle.set(xlabel="x after 200 noisy steps", ylabel="runs", title="small step with noise")
    sharpness, losses = _digits(right, quick=quick)
    stays = bool(abs(paths[0.5][-1] - narrow) < 0.1)
    leaves = bool(abs(paths[3.0][-1] - WIDE) < 1.0)
    small, large = sharpness.values()
    sharper = all(a < b for a, b in zip(small, large, strict=True))
    shown = ", ".join(f"{a:.2g} and {b:.2g}" for a, b in zip(small, large, strict=True))
    return Outcome(
        figure=figure,
        numbers={
            "curvature of the narrow minimum": curvature,
            "curvature of the wide minimum": _curvature(WIDE),
            "end by factor of 2 / curvature": {f"{f:g}": float(p[-1]) for f, p in paths.items()},
            "part of noisy runs that leave": out,
            "largest eigenvalue by batch": {str(b): values for b, values in sharpness.items()},
            "training loss by batch": {str(b): values for b, values in losses.items()},
        },
        checks=[
            Check(f"a small step must end in the narrow minimum: {paths[0.5][-1]:.2f}", stays),
            Check(f"a large step must end in the wide minimum: {paths[3.0][-1]:.2f}", leaves),
            Check(f"more than half of the noisy runs must leave: {out:.0%}", out > 0.5),
            *([] if quick else [
                Check(f"eigenvalues must be larger at batch 512 than at 16: {shown}", sharper)
            ]),
        ],
    )  # fmt: skip


def _function(x: np.ndarray) -> np.ndarray:
    value: np.ndarray = (
        x**2 / 20 - 1.2 * np.exp(-8 * (x - NARROW) ** 2) - 2 * np.exp(-((x - WIDE) ** 2) / 2)
    )
    return value


def _slope(x: float) -> float:
    return float(
        x / 10
        + 19.2 * (x - NARROW) * np.exp(-8 * (x - NARROW) ** 2)
        + 2 * (x - WIDE) * np.exp(-((x - WIDE) ** 2) / 2)
    )


def _curvature(x: float) -> float:
    return (_slope(x + 1e-4) - _slope(x - 1e-4)) / 2e-4


def _descend(step: float, noise: float, seed: int) -> np.ndarray:
    """The path [T] of gradient descent, with normal noise on the derivative."""
    generator = np.random.default_rng(seed)
    path = [START]
    for _ in range(ROUNDS):
        path.append(path[-1] - step * (_slope(path[-1]) + noise * generator.standard_normal()))
    return np.array(path)


def _digits(ax: Axes, *, quick: bool) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Trains with both batches; returns the largest eigenvalues and the losses by batch."""
    eigenvalues: dict[int, list[float]] = {}
    losses: dict[int, list[float]] = {}
    sgd = made_of("sgd", recipe.submission(
        lambda params, point, horizon: torch.optim.SGD(params, lr=RATE), schedules.none, fixed={},
    ))  # fmt: skip
    for number, (batch, steps) in enumerate(BATCHES.items()):
        eigenvalues[batch], losses[batch] = [], []
        for seed in SEEDS[:1] if quick else SEEDS:
            workload = Digits()

            def observe(model: nn.Module, workload: Digits = workload) -> dict[str, float]:
                examples = 64 if quick else workload.num_train_examples
                loss = fixed_loss(workload, model, examples)
                return {"sharpness": largest_eigenvalues(model, loss)[0], "all": loss().item()}

            steps = 20 if quick else steps
            every = steps if quick else steps // 3
            result = train(sgd, workload, steps=steps, every=every, seed=seed, batch_size=batch,
                           observe=observe)  # fmt: skip
            at, found = column(result, "validation/sharpness")
            examples = [step * batch for step in at]
            label = f"batch {batch}" if seed == 0 else None
            ax.plot(examples, found, marker="o", ms=3.5, label=label, **style(number))
            eigenvalues[batch].append(found[-1])
            losses[batch].append(column(result, "validation/all")[1][-1])
    ax.set(xscale="log", yscale="log", xlabel="examples", ylabel="largest eigenvalue")
    ax.set(title="digits, Hessian of the training loss")
    ax.legend(frameon=False)
    return eigenvalues, losses
