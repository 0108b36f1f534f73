"""Measures the harness's overhead: time per step over that of a bare PyTorch loop.

Both train mnist's MLP at batch 16 with the same initialisation, NadamW, schedule and in-memory
batches, in this process, one thread, nothing compiled. Runs alternate, and so does
which of the two is first; the result is the median ratio over the pairs. The aim is at most 1.05.
If other work disturbs the clock, the ratio of CPU times is more stable.

    python -m benchmarks.overhead [--pairs 31] [--steps 700] [--device cpu]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.trial.messages import Measured, OfTrial

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

import workloads
from harness.spec import Workload
from harness.submission import loading
from harness.trial.attempt import Attempt, run_attempt
from harness.trial.seeds import Streams
from scoring.records import TrialSpec, Tuning, Until
from tests.fixtures.mnist import write_mnist

POINT = {
    "learning_rate": 1e-3,
    "one_minus_beta1": 0.1,
    "beta2": 0.999,
    "weight_decay": 1e-2,
    "warmup_factor": 0.05,
}


def make_spec(workload: Workload, steps: int) -> TrialSpec:
    """A trial of `steps` steps that evaluates after the first and the last."""
    return TrialSpec(
        submission="nadamw",
        submission_path=str(loading.find("nadamw")),
        submission_hash="",
        tuning=Tuning.EXTERNAL,
        workload="mnist",
        study=0,
        trial=1,
        seed=0,
        hyperparameters=POINT,
        goal=workload.goal,
        test_goal=workload.test_goal,
        budget_seconds=1e6,
        max_allowed_runtime_sec=1e6,
        eval_period_seconds=1e6,
        step_hint=workload.step_hint,
        max_steps=steps,
        until=Until.BUDGET,
        gpus_per_trial=int(workload.device.type == "cuda"),
        compile=False,
    )


Seconds = tuple[float, float]  # on the clock, and of CPU time


def harness_seconds(workload: Workload, spec: TrialSpec, losses: list[float]) -> Seconds:
    """Seconds on the submission clock."""

    def report(message: OfTrial) -> None:
        if isinstance(message, Measured):
            losses.append(message.row.metrics["validation/loss"])

    result = run_attempt(lambda *_: workload, spec, Attempt(report))
    return result.submission_seconds, result.cpu_seconds


def bare_seconds(workload: Workload, spec: TrialSpec, losses: list[float]) -> Seconds:
    """Seconds of the same steps in a hand-written loop."""
    assert spec.max_steps is not None
    streams = Streams.of(spec)
    model, _ = workload.init_model_fn(streams.model)
    batches = workload.build_input_queue(streams.data, "train", 16)
    optimizer = torch.optim.NAdam(
        model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-2,
        decoupled_weight_decay=True,
    )  # fmt: skip
    horizon = int(np.ceil(0.75 * spec.step_hint))
    warmup = int(0.05 * horizon)
    schedule = SequentialLR(
        optimizer,
        [
            LinearLR(optimizer, start_factor=1e-10, total_iters=warmup),
            CosineAnnealingLR(optimizer, T_max=horizon - warmup),
        ],
        milestones=[warmup],
    )
    wait: Callable[[], object] = torch.cuda.synchronize if spec.device == "cuda" else lambda: None
    wait()
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(spec.max_steps):
        batch = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(model(batch["inputs"]), batch["targets"]).backward()
        optimizer.step()
        schedule.step()
    wait()
    seconds = time.perf_counter() - began, time.process_time() - cpu_began
    losses.append(workload.eval_model(model, None, "validation")["loss"])
    return seconds


def main() -> None:
    """Prints every pair and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=31)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        workload = workloads.get("mnist", write_mnist(Path(folder)), arguments.device)
        workload.check_data()
        spec = make_spec(workload, arguments.steps)
        warm_up = replace(spec, max_steps=200)
        harness_seconds(workload, warm_up, []), bare_seconds(workload, warm_up, [])
        ratios: list[float] = []
        cpu_ratios: list[float] = []
        for pair in range(arguments.pairs):
            seconds, losses = {}, {"harness": [0.0], "bare": [0.0]}
            order = [("harness", harness_seconds), ("bare", bare_seconds)]
            for name, run in order if pair % 2 else reversed(order):
                seconds[name] = run(workload, spec, losses[name])
            if abs(losses["harness"][-1] - losses["bare"][-1]) > 1e-3:
                raise SystemExit(f"the two did not train in the same way: {losses}")
            for which, found in enumerate((ratios, cpu_ratios)):
                found.append(seconds["harness"][which] / seconds["bare"][which])
            per_step = {name: value[0] / arguments.steps * 1e6 for name, value in seconds.items()}
            print(
                f"pair {pair + 1}: harness {per_step['harness']:.1f} us, "
                f"bare {per_step['bare']:.1f} us per step, ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(
        f"median ratio {statistics.median(ratios):.3f} (aim: at most 1.05), "
        f"of CPU times {statistics.median(cpu_ratios):.3f}"
    )


if __name__ == "__main__":
    main()
