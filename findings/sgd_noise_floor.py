"""SGD with a constant step stops at a floor; a decreasing one falls as 1/k; GD falls linearly."""

from __future__ import annotations

import itertools

import numpy as np

import workloads
from findings import Check, Finding, Outcome
from findings.frame.figure import panels, slope, style
from findings.frame.sampled import StepSize, sampled_sgd
from findings.frame.training import column, train

FINDING = Finding(
    claim=(
        "On strongly convex logistic regression SGD with a constant step stops at a floor in "
        "proportion to the step and to 1/batch, with a decreasing step it falls as 1/k, and "
        "gradient descent falls linearly"
    ),
    source="Textbook; Gower, Loizou, Qian, Sailanbayev, Shulgin, Richtárik 2019, SGD: General "
    "Analysis and Improved Rates",
    chosen=(
        "logistic_regression, examples drawn with replacement, constant steps 0.08 to 0.01 with "
        "batches of 1, and 0.08 with batches of 2 to 8, 6,000 steps, the floor being the mean gap "
        "over the second half and 3 seeds; a_k = (2k + 1) / (2 mu (k + 1)^2), 10,000 steps, mean "
        "over 8 seeds, slope from step 300 on; gradient descent with step 0.3. Halving the step or "
        "doubling the batch must divide the floor by 1.6 to 2.5, the slope must be -1 within 0.2, "
        "the log-linear fit of gradient descent must have R^2 over 0.99."
    ),
)
STEPS, BATCHES = (0.08, 0.04, 0.02, 0.01), (1, 2, 4, 8)
MU = 1.0


def run(quick: bool) -> Outcome:
    """Trains with every step size and batch."""
    short, long, seeds, more = (400, 600, 1, 1) if quick else (6000, 10_000, 3, 8)
    figure, (left, right) = panels(FINDING.claim, columns=2)
    by_step, by_batch = [], []
    for number, size in enumerate(STEPS):
        ks, gaps = _mean_gaps(_constant(size), 1, short, seeds)
        left.plot(ks, gaps, label=f"constant step {size}", lw=0.9, color=style(number)["color"])
        by_step.append(_floor(gaps))
    ks, gaps = _mean_gaps(lambda k: (2 * k + 1) / (2 * MU * (k + 1) ** 2), 1, long, more)
    late = [place for place, k in enumerate(ks) if k >= 300]
    rate = slope([ks[place] for place in late], [gaps[place] for place in late])
    left.plot(ks, gaps, label="decreasing step", lw=0.9, color=style(4)["color"])
    gd = train("gradient_descent", workloads.get("logistic_regression"),
               {"learning_rate": 0.3, "search": "constant"}, steps=60)  # fmt: skip
    gd_ks, gd_gaps = column(gd, "validation/gap")
    left.plot(gd_ks, np.maximum(gd_gaps, 1e-12), label="gradient descent, step 0.3", **style(5))
    left.set(xscale="log", yscale="log", xlabel="step k", ylabel="gap (f - f*) / (f(x0) - f*)")
    left.set(ylim=(1e-7, 3))
    left.legend(frameon=False, fontsize=8)
    for batch in BATCHES:
        by_batch.append(_floor(_mean_gaps(_constant(STEPS[0]), batch, short, seeds)[1]))
    right.plot(STEPS, by_step, marker="o", label="batch 1, by step size", **style(0))
    right.plot([STEPS[0] / b for b in BATCHES], by_batch, marker="s",
               label=f"step size {STEPS[0]}, by batch", **style(1))  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="step size / batch", ylabel="floor of the gap")
    right.set_xticks(STEPS, map(str, STEPS))
    right.minorticks_off()
    right.legend(frameon=False)
    straight = _straightness(gd_ks, gd_gaps)
    return Outcome(
        figure=figure,
        numbers={
            "slope with the decreasing step": rate,
            "R^2 of gradient descent's log-linear fit": straight,
            "floor by step size": dict(zip(map(str, STEPS), by_step, strict=True)),
            "floor by batch": dict(zip(map(str, BATCHES), by_batch, strict=True)),
        },
        checks=[
            _halves("the step", by_step),
            _halves("1/batch", by_batch),
            Check(f"with a decreasing step the slope must be -1.2 to -0.8: {rate:.2f}",
                  abs(rate + 1) <= 0.2),
            Check(f"R^2 of gradient descent must be over 0.99: {straight:.4f}", straight > 0.99),
        ],
    )  # fmt: skip


def _constant(size: float) -> StepSize:
    return lambda k: size


def _mean_gaps(
    step_size: StepSize, batch: int, steps: int, seeds: int
) -> tuple[list[int], list[float]]:
    """Steps, and the mean over seeds of the gaps there."""
    runs = [
        column(
            train(
                sampled_sgd(step_size, batch),
                workloads.get("logistic_regression"),
                steps=steps,
                every=20,
                seed=seed,
            ),
            "validation/gap",
        )
        for seed in range(seeds)
    ]
    return runs[0][0], np.mean([gaps for _, gaps in runs], axis=0).tolist()


def _floor(gaps: list[float]) -> float:
    return float(np.mean(gaps[len(gaps) // 2 :]))


def _halves(what: str, floors: list[float]) -> Check:
    """The check that the floor halves with each halving."""
    ratios = [above / below for above, below in itertools.pairwise(floors)]
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return Check(
        f"halving {what} must divide the floor by 1.6 to 2.5: {shown}",
        all(1.6 <= ratio <= 2.5 for ratio in ratios),
    )


def _straightness(ks: list[int], gaps: list[float]) -> float:
    """R^2 of the line through log gaps, down to 1e-12."""
    points = [(k, np.log(gap)) for k, gap in zip(ks, gaps, strict=True) if gap > 1e-12]
    return float(np.corrcoef(np.array(points).T)[0, 1] ** 2)
