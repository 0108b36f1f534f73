"""Steps of zero-order gradients grow with the dimension; the simplex method fails in many."""

from __future__ import annotations

from typing import Any

import workloads
from findings import Check, Finding, Outcome
from findings.frame.figure import panels, slope, style
from findings.frame.training import column, train
from scoring.records import TrialResult, Until

FINDING = Finding(
    claim=(
        "Steps of two-point gradients over those of gradient descent grow in proportion to the "
        "dimension n; Nelder and Mead's method works at n = 2 and not at n = 100"
    ),
    source="Nesterov, Spokoiny 2017, Random Gradient-Free Minimization of Convex Functions",
    chosen=(
        "Quadratic functions of condition number 10 to a gap of 1e-6; gradient descent with the "
        "step 1/L, two-point gradients with 1/(n L), delta = 1e-5, n = 2 to 100, 3 seeds; the "
        "log-log slope must be 1 within 0.25. Nelder and Mead's method has 10,000 iterations."
    ),
)
DIMENSIONS, CONDITION, TARGET = (2, 5, 10, 20, 50, 100), 10.0, 1e-6


def run(quick: bool) -> Outcome:
    """Counts steps in every dimension."""
    dimensions = (2, 4, 8) if quick else DIMENSIONS
    seeds = range(1 if quick else 3)
    ratios = []
    for n in dimensions:
        point = {"learning_rate": 1 / CONDITION, "search": "constant"}
        exact = _steps("gradient_descent", n, point, 1000, 0)
        two = {"learning_rate": 1 / (n * CONDITION), "delta": 1e-5, "directions": 1}
        steps = [_steps("two_point", n, two, 2000 * n, seed) for seed in seeds]
        ratios.append(sum(steps) / len(steps) / exact)
    rate = slope(dimensions, ratios)
    figure, (left, right) = panels(FINDING.claim, columns=2)
    left.plot(dimensions, ratios, marker="o", **style(0))
    left.set(xscale="log", yscale="log", xlabel="dimension n")
    left.set(ylabel="steps of two-point gradients\nover those of gradient descent")
    ends = {}
    for number, n in enumerate((2, 100)):
        result = _train("self_tuning/nelder_mead", n, None, 200 if quick else 10_000, 0, 20)
        ks, gaps = column(result, "validation/gap")
        right.plot(ks, gaps, label=f"Nelder-Mead, n = {n}", **style(number))
        ends[n] = gaps[-1]
    right.set(xscale="log", yscale="log", xlabel="iteration", ylabel="gap")
    right.legend(frameon=False)
    return Outcome(
        figure=figure,
        numbers={
            "log-log slope": rate,
            "gap of Nelder-Mead at n = 2": ends[2],
            "gap of Nelder-Mead at n = 100": ends[100],
            "ratios of steps": dict(zip(map(str, dimensions), ratios, strict=True)),
        },
        checks=[
            Check(f"the slope must be 0.75 to 1.25: {rate:.2f}", abs(rate - 1) <= 0.25),
            Check(f"Nelder-Mead must reach {TARGET:g} at n = 2: {ends[2]:.1e}", ends[2] <= TARGET),
            Check(f"Nelder-Mead must not reach {TARGET:g} at n = 100: {ends[100]:.1e}",
                  ends[100] > TARGET),
        ],
    )  # fmt: skip


def _steps(name: str, dimension: int, point: Any, steps: int, seed: int) -> int:
    every = 1 if name == "gradient_descent" else dimension
    return _train(name, dimension, point, steps, seed, every).global_step


def _train(name: str, dimension: int, point: Any, steps: int, seed: int, every: int) -> TrialResult:
    workload: Any = workloads.get("quadratic_100")
    workload.dimension, workload.condition = dimension, CONDITION
    workload.validation_target_value = TARGET
    return train(name, workload, point, steps=steps, every=every, seed=seed, until=Until.VALIDATION)
