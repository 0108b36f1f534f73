"""Steps of gradient descent, conjugate gradients and Newton's method against the condition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

import workloads
from findings import Check, Finding, Outcome
from findings.frame.figure import panels, slope, style
from findings.frame.training import column, train
from scoring.records import Until

FINDING = Finding(
    claim=(
        "On a quadratic function, steps of gradient descent grow in proportion to the condition "
        "number, those of conjugate gradients with its root, and those of Newton's method not at "
        "all; Armijo's and Wolfe's conditions hold at every accepted step"
    ),
    source="Textbook: Nocedal, Wright 2006, Numerical Optimization, chapters 3 and 5",
    chosen=(
        "quadratic_100 with 500 variables and condition numbers 10 to 1,000, to a gap of 1e-8; "
        "gradient descent with the constant step 1/L, conjugate gradients of Polak and Ribière, "
        "Newton's method; slopes of log-log lines must be 1 and 0.5 within 0.15. Searches are "
        "tested on 100 steps of gradient descent on Rosenbrock's function."
    ),
)
CONDITIONS = (10, 30, 100, 300, 1000)
METHODS = ("gradient_descent", "conjugate_gradient", "newton")
ROUNDING = 1e-9


def run(quick: bool) -> Outcome:
    """Counts the steps of every method at every condition number."""
    conditions = CONDITIONS[:2] if quick else CONDITIONS
    dimension = 50 if quick else 500
    steps = {name: [_steps(name, rho, dimension) for rho in conditions] for name in METHODS}
    held = {search: _held(search, 30 if quick else 100) for search in ("armijo", "wolfe")}
    figure, (ax,) = panels(FINDING.claim)
    for number, (name, counts) in enumerate(steps.items()):
        ax.plot(conditions, counts, marker="o", label=name.replace("_", " "), **style(number))
    ax.set(xscale="log", yscale="log", xlabel="condition number")
    ax.set(ylabel="steps to a gap of 1e-8")
    ax.legend(frameon=False)
    slopes = {name: slope(conditions, steps[name]) for name in METHODS[:2]}
    descent, conjugate = slopes.values()
    newton = steps["newton"]
    return Outcome(
        figure=figure,
        numbers={
            "slope of gradient descent": descent,
            "slope of conjugate gradients": conjugate,
            "steps of Newton's method": max(newton),
            "condition numbers": list(conditions),
            "steps": steps,
        },
        checks=[
            Check(f"gradient descent's slope must be 0.85 to 1.15: {descent:.2f}",
                  abs(descent - 1) <= 0.15),
            Check(f"conjugate gradients' slope must be 0.35 to 0.65: {conjugate:.2f}",
                  abs(conjugate - 0.5) <= 0.15),
            Check(f"Newton's steps must be the same everywhere: {min(newton)} to {max(newton)}",
                  len(set(newton)) == 1),
            *(Check(f"{name}'s conditions must hold at all steps: {kept} of {count}", kept == count)
              for name, (kept, count) in held.items()),
        ],
    )  # fmt: skip


def _steps(method: str, condition: int, dimension: int) -> int:
    """Steps of a method to the workload's target."""
    workload: Any = workloads.get("quadratic_100")
    workload.condition, workload.dimension = condition, dimension
    name, point, every = {
        "gradient_descent": (
            "gradient_descent",
            {"learning_rate": 1 / condition, "search": "constant"},
            max(1, condition // 10),
        ),
        "conjugate_gradient": (
            "conjugate_gradient",
            {"learning_rate": 1 / condition, "formula": "polak_ribiere"},
            1,
        ),
        "newton": ("self_tuning/newton", None, 1),
    }[method]
    result = train(name, workload, point, steps=20 * condition, every=every, until=Until.VALIDATION)
    return result.global_step


def _held(search: str, steps: int) -> tuple[int, int]:
    """At how many steps of a search its conditions hold, and how many there were."""
    workload: Any = workloads.get("rosenbrock")
    model = workload.model_at(workload.start)
    path: list[np.ndarray] = []

    def observe(trained: nn.Module) -> dict[str, float]:
        path.append(parameters_to_vector(trained.parameters()).detach().numpy().copy())
        return {}

    point = {"learning_rate": 1.0, "search": search}
    gaps = train("gradient_descent", workload, point, steps=steps, observe=observe)
    assert len(column(gaps, "validation/gap")[0]) == len(path)

    def value_and_gradient(x_p: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.tensor(x_p, requires_grad=True)
        loss = model.residuals(x).square().sum()
        (gradient,) = torch.autograd.grad(loss, x)
        return loss.item(), gradient.numpy()

    kept = 0
    for x_p, y_p in itertools.pairwise(path):
        (before, gradient), (after, there) = value_and_gradient(x_p), value_and_gradient(y_p)
        t = np.linalg.norm(y_p - x_p) / np.linalg.norm(gradient)
        falls = after <= before - 1e-4 * t * gradient @ gradient + ROUNDING
        flat = abs(there @ gradient) <= 0.9 * gradient @ gradient + ROUNDING
        kept += bool(falls and (flat or search == "armijo"))
    return kept, len(path) - 1
