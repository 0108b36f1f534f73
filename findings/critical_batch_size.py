"""Steps against examples to a target, and how learning rates scale with the batch.

Shapes: K batch sizes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from scipy.optimize import curve_fit
from torch import nn
from torch.optim import Optimizer

from findings import Check, Finding, Outcome
from findings.frame.figure import panels, slope, style
from findings.frame.landscape import gradient
from findings.frame.training import column, made_of, train
from harness.spec import ForwardPassMode, Hyperparameters
from harness.submission.loading import Submission
from scoring.records import Until
from submissions import recipe, schedules
from workloads.digits.workload import Digits

FINDING = Finding(
    claim=(
        "Steps S and examples E to a target follow (S / S_min - 1)(E / E_min - 1) = 1; the simple "
        "noise scale tr(Sigma) / |G|^2 predicts the knee; the best rate of SGD grows with the "
        "batch, Adam's with its root"
    ),
    source="McCandlish, Kaplan, Amodei et al. 2018, An Empirical Model of Large-Batch Training; "
    "Goyal et al. 2017; Granziol et al. 2022",
    chosen=(
        "digits to a validation loss of 0.2, batches of 8 to 512, constant learning rates in "
        "factors of 2 (SGD 0.02 to 2.56, Adam 2.5e-4 to 3.2e-2), one seed, at most 600 steps or "
        "40,000 examples, evaluated about every 64 examples or every step; the rate with the "
        "fewest steps counts. The fit is of log S = log(S_min (1 + B / batch)): its root mean "
        "square error must be below 0.35, and the mean noise scale on the way, of SGD with rate "
        "0.16 at batch 32, within a factor of 4 of its B. The exponent of the best rate up to "
        "batch 64 must be 1 +- 0.35 for SGD and 0.5 +- 0.35 for Adam. Added after the first run, "
        "to be stricter: no best rate may be at the end of the rates tried."
    ),
)
BATCHES = (8, 16, 32, 64, 128, 256, 512)
RATES = {"SGD": 0.02 * 2.0 ** np.arange(8), "Adam": 2.5e-4 * 2.0 ** np.arange(8)}
EXPONENT = {"SGD": 1.0, "Adam": 0.5}
MAX_STEPS, MAX_EXAMPLES, NOISE_BATCH = 600, 40_000, 32


class QuickDigits(Digits):
    """digits to a validation loss."""

    target_metric_name = "loss"
    target_direction = "min"
    validation_target_value = 0.2
    num_eval_train_examples = 32


class Best(NamedTuple):
    """The learning rates and steps [K] with which every batch size was soonest."""

    batches: list[int]
    rates: list[float]
    steps: list[int]


def run(quick: bool) -> Outcome:
    """Finds the best rate of every batch size, and measures the noise."""
    batches = BATCHES[2:6:2] if quick else BATCHES
    best = {name: _search(name, batches, quick=quick) for name in RATES}
    figure, (left, middle, right) = panels(FINDING.claim, columns=3)
    sgd = best["SGD"]
    if quick:
        s_min, knee, error = 10.0, 30.0, 0.0
    else:
        s_min, knee, error = _fit(sgd)
    at, noise = _noise(20 if quick else sgd.steps[sgd.batches.index(NOISE_BATCH)])
    scale = float(np.mean(noise))
    _draw_curve(left, sgd, s_min, knee)
    middle.plot(at, noise, **style(0))
    middle.axhline(knee, label=f"knee of the fit: batch {knee:.0f}", **style(1))
    middle.axhline(scale, label=f"mean noise scale: {scale:.0f}", **style(2))
    middle.set(xlabel="step", ylabel="tr(Sigma) / |G|^2 [examples]", yscale="log")
    middle.legend(frameon=False)
    exponents = {}
    for number, (name, found) in enumerate(best.items()):
        small = [k for k, batch in enumerate(found.batches) if batch <= 64]
        xs, ys = ([values[k] for k in small] for values in (found.batches, found.rates))
        exponents[name] = slope(xs, ys) if len(xs) > 1 else EXPONENT[name]
        label = f"{name}: exponent {exponents[name]:.2f}"
        right.plot(found.batches, found.rates, "o", ms=5, label=label, **style(number))
    right.set(xscale="log", yscale="log", xlabel="batch size", ylabel="best learning rate")
    right.legend(frameon=False)
    factor = max(scale / knee, knee / scale)
    ends = {
        f"{name} at batch {batch}"
        for name, found in best.items()
        for batch, rate in zip(found.batches, found.rates, strict=True)
        if batch <= 64 and rate in (RATES[name][0], RATES[name][-1])
    }
    return Outcome(
        figure=figure,
        numbers={
            **{f"{name}: {part}": getattr(found, part)
               for name, found in best.items() for part in found._fields},
            "S_min": s_min, "E_min": s_min * knee, "knee": knee, "error of the fit": error,
            "mean noise scale": scale, "exponents": exponents,
        },
        checks=[
            Check(f"the fit's error must be below 0.35: {error:.2f}", error < 0.35),
            Check("the noise scale must be within a factor of 4 of the knee: "
                  f"{scale:.0f} and {knee:.0f}", quick or factor <= 4),
            *(Check(f"the exponent of {name} must be {EXPONENT[name]:g} +- 0.35: {found:.2f}",
                    quick or abs(found - EXPONENT[name]) <= 0.35)
              for name, found in exponents.items()),
            Check("best rates up to batch 64 must be inside of the rates tried; at their end: "
                  f"{', '.join(sorted(ends)) or 'none'}", quick or not ends),
        ],
    )  # fmt: skip


def _search(name: str, batches: Iterable[int], *, quick: bool) -> Best:
    best = Best([], [], [])
    for batch in batches:
        limit = 12 if quick else min(MAX_STEPS, MAX_EXAMPLES // batch)
        rates = RATES[name][3:5] if quick else RATES[name]
        found = {}
        for rate in rates:
            result = train(_optimizer(name, rate), QuickDigits(), steps=limit,
                           every=max(1, 64 // batch), batch_size=batch,
                           until=Until.VALIDATION)  # fmt: skip
            if quick or result.rows[-1].metrics["validation/loss"] <= 0.2:
                found[float(rate)] = result.rows[-1].global_step
        if found:
            rate = min(found, key=found.__getitem__)
            best.batches.append(batch)
            best.rates.append(rate)
            best.steps.append(found[rate])
    return best


def _fit(best: Best) -> tuple[float, float, float]:
    """S_min, the knee in examples, and the root mean square error of log S."""
    batch_k, log_k = np.array(best.batches, float), np.log(best.steps)

    def model(batch: np.ndarray, log_s: float, log_b: float) -> np.ndarray:
        value: np.ndarray = log_s + np.log1p(np.exp(log_b) / batch)
        return value

    (log_s, log_b), _ = curve_fit(model, batch_k, log_k, p0=(log_k.min(), np.log(32)))
    error = np.sqrt(np.mean((model(batch_k, log_s, log_b) - log_k) ** 2))
    return float(np.exp(log_s)), float(np.exp(log_b)), float(error)


def _noise(steps: int) -> tuple[list[int], list[float]]:
    """The simple noise scale while training, from the gradients of all batches of an epoch.

    |G|^2 and tr(Sigma) are unbiased estimates (McCandlish et al., appendix A.1).
    """
    workload = QuickDigits()

    def observe(model: nn.Module) -> dict[str, float]:
        queue = workload.build_input_queue((0, 9), "train", NOISE_BATCH)
        grads = []
        for _ in range(workload.num_train_examples // NOISE_BATCH):
            batch = next(queue)

            def loss(batch: Any = batch) -> torch.Tensor:
                logits, _ = workload.model_fn(
                    model, batch, None, ForwardPassMode.TRAIN, (0, 0), False
                )
                summed: torch.Tensor = workload.loss_fn(batch["targets"], logits)["summed"]
                return summed / NOISE_BATCH

            grads.append(gradient(model, loss))
        all_kp = torch.stack(grads)
        mean_p = all_kp.mean(0)
        trace = NOISE_BATCH * (all_kp - mean_p).square().sum().item() / (len(all_kp) - 1)
        squared = mean_p.square().sum().item() - trace / NOISE_BATCH / len(all_kp)
        return {"scale": trace / max(squared, 1e-12)}

    result = train(_optimizer("SGD", 0.16), workload, steps=steps, every=max(1, steps // 10),
                   batch_size=NOISE_BATCH, observe=observe)  # fmt: skip
    return column(result, "validation/scale")


def _draw_curve(ax: Axes, best: Best, s_min: float, knee: float) -> None:
    """Draws examples against steps, and the fit."""
    steps_k = np.array(best.steps)
    examples_k = steps_k * np.array(best.batches)
    ax.plot(steps_k, examples_k, "o", ms=5, color=style(0)["color"], label="SGD, best rate")
    for batch, x, y in zip(best.batches, steps_k, examples_k, strict=True):
        ax.annotate(f"{batch}", (x, y), textcoords="offset points", xytext=(5, 4), fontsize=8)
    batch_g = np.geomspace(min(best.batches) / 2, 2 * max(best.batches), 100)
    fitted_g = s_min * (1 + knee / batch_g)
    ax.plot(fitted_g, fitted_g * batch_g, label="(S / S_min - 1)(E / E_min - 1) = 1", **style(1))
    ax.set(xscale="log", yscale="log", xlabel="steps S", ylabel="examples E")
    ax.set_title("to a validation loss of 0.2; labels: batch sizes", fontsize=10)
    ax.legend(frameon=False)


def _optimizer(name: str, rate: float) -> Submission:
    def make_optimizer(
        params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
    ) -> Optimizer:
        if name == "SGD":
            return torch.optim.SGD(params, lr=float(rate))
        return torch.optim.Adam(params, lr=float(rate))

    return made_of(name, recipe.submission(make_optimizer, schedules.none, fixed={}))
