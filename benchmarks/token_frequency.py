"""Compares gradient descent with Adam on heavy-tailed labels: loss by token frequency.

After Kunstner et al. 2024, figure 1: tokens are sorted by their frequency in the training text and
divided into ten groups that each make up a tenth of the text. The result is the loss of each group
at the end of training, for AdamW and for gradient descent with Nesterov momentum, each with the
best of the given learning rates. It runs on the step clock, so it is the same on every machine.

    python -m benchmarks.token_frequency [--png FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import workloads
from harness.submission import loading
from harness.trial.attempt import run_attempt
from scoring.records import ClockKind, TrialSpec, Tuning, Until

WORKLOAD = "nanogpt_mini"
SHARED = {"one_minus_beta1": 0.1, "warmup_factor": 0.05}
POINTS: dict[str, list[dict[str, Any]]] = {
    "adamw": [
        {"learning_rate": rate, "beta2": 0.99, "weight_decay": 0.01} for rate in (3e-4, 1e-3, 3e-3)
    ],
    "nesterov": [{"learning_rate": rate, "weight_decay": 1e-5} for rate in (0.03, 0.1, 0.3)],
}


def losses(name: str, point: dict[str, Any]) -> list[float]:
    """The loss after three quarters of the budget, and the final loss of each group."""
    workload = workloads.get(WORKLOAD)
    assert workload.budget_steps is not None
    assert workload.eval_period_steps is not None
    steps, folder = 3 * workload.budget_steps // 4, loading.find(name)
    spec = TrialSpec(
        submission=name, submission_path=str(folder), submission_hash="", tuning=Tuning.EXTERNAL,
        workload=WORKLOAD, study=0, trial=1, seed=0, hyperparameters={**SHARED, **point},
        goal=workload.goal, test_goal=None, budget_seconds=float(workload.budget_steps),
        max_allowed_runtime_sec=float(workload.budget_steps), eval_period_seconds=float(steps),
        step_hint=workload.step_hint, max_steps=steps, clock=ClockKind.STEPS, step_seconds=1.0,
        until=Until.BUDGET,
    )  # fmt: skip
    metrics = run_attempt(workloads.get, spec).rows[-1].metrics
    groups = [metrics[f"validation/loss_decile_{number}"] for number in range(1, 11)]
    return [metrics["validation/loss"], *groups]


def draw(best: dict[str, list[float]], path: Path) -> None:
    """Writes the figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, (loss, *groups) in best.items():
        axes.plot(range(1, 11), groups, marker="o", label=f"{name} ({loss:.2f} over all)")
    axes.set(
        xlabel="tokens by frequency: tenths of the text, the most frequent first",
        ylabel="validation loss (nats a token)", xticks=range(1, 11),
        title=f"{WORKLOAD}: what rare tokens cost",
    )  # fmt: skip
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Trains all points and prints the best of each submission."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--png", type=Path, help="write the figure here")
    arguments = parser.parse_args()
    best = {}
    for name, points in POINTS.items():
        found = {point["learning_rate"]: losses(name, point) for point in points}
        rate = min(found, key=lambda rate: found[rate][0])
        best[name] = found[rate]
        shown = " ".join(f"{loss:5.2f}" for loss in best[name])
        print(f"{name:10} learning rate {rate:<6g} loss {shown}", flush=True)
    if arguments.png:
        draw(best, arguments.png)


if __name__ == "__main__":
    main()
