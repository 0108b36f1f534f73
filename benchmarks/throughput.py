"""Measures how fast a workload trains: the complete step, its input pipeline, an evaluation.

The step is forward, backward and NAdam at the workload's own batch size, through `model_fn` and
`loss_fn` as a submission calls them; the pipeline is `next` on the input queue. Medians over the
steps. If the pipeline is not several times as fast as the step, it is the bottleneck.

    python -m benchmarks.throughput WORKLOAD [--data-dir DIR] [--device cpu] [--steps 50]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import workloads
from harness.spec import ForwardPassMode, Workload


def seconds(call: Callable[[], object], times: int, device: str) -> float:
    """Median seconds of a call, including the device's work."""
    laps = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        laps.append(time.perf_counter() - began)
    return statistics.median(laps)


def train_step(workload: Workload) -> Callable[[], None]:
    """Returns a function that trains a model by one step per call."""
    model, _ = workload.init_model_fn(0)
    optimizer = torch.optim.NAdam(model.parameters(), lr=1e-3)
    queue = workload.build_input_queue(0, "train", workload.train_batch_size)

    def step() -> None:
        batch = next(queue)
        logits, _ = workload.model_fn(
            params=model,
            augmented_and_preprocessed_input_batch=batch,
            model_state=None,
            mode=ForwardPassMode.TRAIN,
            rng=(0, 0),
            update_batch_norm=True,
        )
        loss = workload.loss_fn(
            label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights")
        )
        optimizer.zero_grad()
        (loss["summed"] / loss["n_valid_examples"]).backward()
        optimizer.step()

    return step


def main() -> None:
    """Prints the measurements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("--data-dir")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    workload = workloads.get(args.workload, args.data_dir, args.device)
    workload.prepare_data()
    size = workload.train_batch_size
    step = train_step(workload)
    seconds(step, 5, args.device)  # warm-up
    step_seconds = seconds(step, args.steps, args.device)
    queue = workload.build_input_queue(1, "train", size)
    pipeline = seconds(lambda: next(queue), args.steps, args.device)
    model, _ = workload.init_model_fn(0)
    began = time.perf_counter()
    workload.eval_model(model, None, "validation")
    evaluation = time.perf_counter() - began
    print(f"{args.workload}, batch {size}, {args.device}, {args.threads} threads")
    print(f"  step:       {1e3 * step_seconds:9.2f} ms, {size / step_seconds:,.0f} examples/s")
    print(f"  pipeline:   {1e3 * pipeline:9.2f} ms, {size / pipeline:,.0f} examples/s")
    print(f"  pipeline over step: {step_seconds / pipeline:.1f} times as fast")
    print(f"  evaluation: {evaluation:9.2f} s of the validation split, with an untrained model")


if __name__ == "__main__":
    main()
