"""How much sooner cautious AdamW and cautious Lion reach what AdamW and Lion end with."""

from __future__ import annotations

import numpy as np
from scipy import stats

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, style
from findings.frame.language import Language
from findings.frame.training import column, train
from submissions import recipe

FINDING = Finding(
    claim=(
        "Cautious AdamW and cautious Lion need fewer steps than AdamW and Lion to their final "
        "losses: 1.47 and 1.28 times fewer at scale"
    ),
    source="Liang, Chen, Liu, Liu 2024, Cautious Optimizers: Improving Training with One Line of "
    "Code",
    chosen=(
        "nanogpt_mini, 160 steps at batch 8, five seeds, the library's submissions with the first "
        "point of its search spaces but gradients clipped at 1, the same for a method and its "
        "cautious version (AdamW: learning rate 1e-2, betas 0.9 and 0.99; Lion: 1e-3, 0.9 and "
        "0.99). A speed-up is 160 over the interpolated step from which the cautious version has "
        "at most the other's final validation loss; one that does not get there counts as 1 if its "
        "final loss is within 0.01 nats, else as 0.9, since nothing is extrapolated. The 95% t "
        "interval over seeds of the mean speed-up must be above 1, for each. The "
        "paper's models are 100 to 1,000 times larger."
    ),
)
STEPS, EVERY, SEEDS = 160, 10, (0, 1, 2, 3, 4)
POINTS = {
    "adamw": {"learning_rate": 0.01, "beta2": 0.99, "weight_decay": 0.001},
    "lion": {"learning_rate": 0.001, "beta2": 0.99, "weight_decay": 0.01},
}
SHARED = {"one_minus_beta1": 0.1, "warmup_factor": 0.05, "grad_clip": 1.0}
PAPER = {"adamw": 1.47, "lion": 1.28}


def run(quick: bool) -> Outcome:
    """Trains all four with every seed."""
    steps, seeds = (3, SEEDS[:2]) if quick else (STEPS, SEEDS)
    every = 1 if quick else EVERY
    figure, axes = panels(FINDING.claim, columns=2)
    speedups: dict[str, list[float]] = {}
    intervals: dict[str, list[float]] = {}
    for ax, (name, point) in zip(axes, POINTS.items(), strict=True):
        curves: dict[str, list[list[float]]] = {name: [], f"cautious_{name}": []}
        for number, (submission, found) in enumerate(curves.items()):
            for seed in seeds:
                result = train(submission, Language(), {**point, **SHARED}, steps=steps,
                               every=every, seed=seed,
                               step_hint=round(steps / recipe.HORIZON))  # fmt: skip
                at, losses = column(result, "validation/loss")
                found.append(losses)
            ax.plot(at, np.mean(found, axis=0), label=submission, **style(number))
            ax.fill_between(at, np.min(found, axis=0), np.max(found, axis=0), lw=0, alpha=0.15,
                            color=style(number)["color"])  # fmt: skip
        pairs = zip(*curves.values(), strict=True)
        speedups[name] = [_speedup(at, plain, cautious) for plain, cautious in pairs]
        mean, error = np.mean(speedups[name]), stats.sem(speedups[name])
        margin = stats.t.ppf(0.975, len(seeds) - 1) * error
        intervals[name] = [float(mean - margin), float(mean), float(mean + margin)]
        low, middle, high = intervals[name]
        ax.set(xlabel="step", ylabel="validation loss [nats per token]")
        ax.set_title(f"speed-up {middle:.2f} [{low:.2f}, {high:.2f}]; paper {PAPER[name]}")
        ax.legend(frameon=False)
    return Outcome(
        figure=figure,
        numbers={
            "speed-up by seed": speedups,
            "95% interval and mean": intervals,
            "paper": PAPER,
        },
        checks=[
            Check(f"the interval of cautious {name}'s speed-up must be above 1: "
                  f"{low:.2f} to {high:.2f}, mean {mean:.2f}", quick or low > 1)
            for name, (low, mean, high) in intervals.items()
        ],
    )  # fmt: skip


def _speedup(at: list[int], plain: list[float], cautious: list[float]) -> float:
    """Steps of the plain version over those of the cautious one to the plain one's final loss."""
    target = plain[-1]
    for k in range(1, len(at)):
        before, after = cautious[k - 1], cautious[k]
        if after <= target:
            part = min(1.0, max(0.0, (before - target) / max(before - after, 1e-12)))
            return at[-1] / (at[k - 1] + part * (at[k] - at[k - 1]))
    return 1.0 if cautious[-1] - target <= 0.01 else 0.9
