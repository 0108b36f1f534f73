"""Measures the cost of a sweep per trial, next to Ray Tune with the same function.

    python -m benchmarks.sweep [--trials 100] [--runs 3] [--torch]

The function does nothing, or imports torch, in a fresh process for every trial, two at a time. Runs
alternate between the two, and the ratio is that of the medians. Everything else differs: how trials
are started, watched and recorded. Here every event is on disk before the next.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.trial.messages import Ended, Message, Started

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from rich.console import Console

import workloads
from harness.executors import cluster
from harness.executors.process import TrialProcess
from harness.progress.live import PlainProgress
from harness.sweep.run import run_sweep
from scoring import rulesets
from scoring.experiment import Experiment, PlannedSubmission, PlannedWorkload
from scoring.records import ClockKind, Goal, RunOptions, Status, TrialResult, Tuning

SLOTS = 2


def nothing() -> None:
    """The trial."""
    if os.environ.get("CHRONOGRAD_BENCHMARK") == "torch":
        import torch

        assert torch


class Nothing(TrialProcess):
    """The process of a trial that calls the function instead of training."""

    def run(self, *_: Any) -> Iterator[Message]:
        """Streams the start and the end."""
        yield Started({"node": self._node_id(), "pid": os.getpid()})
        nothing()
        yield Ended(TrialResult(status=Status.STEP_LIMIT))


def plan(trials: int) -> Experiment:
    """An experiment with a number of trials."""
    rules = PlannedWorkload(
        goal=Goal(metric="loss", direction="min", target=1.0), test_goal=None, budget_seconds=100.0,
        eval_period_seconds=10.0, step_hint=100, baseline_step_seconds=None,
    )  # fmt: skip
    return Experiment(
        ruleset=rulesets.load("demo"), tuning=Tuning.SELF, studies=trials, trials=1,
        options=RunOptions(clock=ClockKind.STEPS), workloads={"toy": rules},
        submissions={"a": PlannedSubmission(path="a", hash="", points=None)},
    )  # fmt: skip


def by_chronograd(trials: int) -> float:
    """Seconds of a sweep."""
    cluster.TrialProcess = Nothing  # type: ignore[attr-defined]
    executor = cluster.Cluster(workloads.get)
    executor._connected = True  # the cluster of this benchmark
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as silent:
        began = time.perf_counter()
        callback = PlainProgress(Console(file=silent))
        summary = run_sweep(plan(trials), Path(folder), executor, callback)
        seconds = time.perf_counter() - began
    assert summary.by_status == {Status.STEP_LIMIT: trials}
    return seconds


def by_tune(trials: int) -> float:
    """Seconds of Ray Tune."""
    from ray import tune

    def train(config: dict[str, Any]) -> None:
        nothing()
        tune.report({"done": 1})

    silent = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
    ):
        began = time.perf_counter()
        results = tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space={"number": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=SLOTS),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        seconds = time.perf_counter() - began
    assert len(results) == trials
    assert not results.errors
    return seconds


def main() -> None:
    """Prints the seconds per trial of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--torch", action="store_true", help="the function imports torch")
    options = parser.parse_args()
    os.environ["CHRONOGRAD_BENCHMARK"] = "torch" if options.torch else ""
    ray.init(
        num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    ways: dict[str, Callable[[int], float]] = {"chronograd": by_chronograd, "Ray Tune": by_tune}
    for run in ways.values():
        run(4)  # imports, and workers that Ray keeps ready
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.runs):
        for name, run in ways.items():
            seconds[name].append(run(options.trials) / options.trials)
            print(f"{name}: {seconds[name][-1]:.3f} s a trial", flush=True)
    mine, theirs = (statistics.median(found) for found in seconds.values())
    print(f"medians: {mine:.3f} and {theirs:.3f} s a trial; ratio {mine / theirs:.2f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
