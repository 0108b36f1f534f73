"""Measures how many trials one driver can follow: Ray streams that only send messages.

    python -m benchmarks.streams [--trials 2000] [--seconds 100]

Each stream sends a heartbeat every 5 s and a row per minute; the second half is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.sweep.options import EVERY_TRIAL
from harness.sweep.recorder import Recorder
from harness.sweep.schedule import Schedule
from harness.trial.messages import Beat, Loaded, Measured, Message, Started
from scoring.records import Order

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray

import workloads
from benchmarks.driver import plan
from harness.executors.cluster import Cluster
from harness.executors.remote_attempt import RemoteAttempt
from harness.sweep.callback import CallbackList
from harness.sweep.driver import Driver
from harness.sweep.ledger import Ledger
from scoring.records import EvalRow, TrialSpec

PROCESSES = 4


class Talkers:
    """Many simulated trials in one process."""

    async def run(self, number: int) -> AsyncIterator[Message]:
        """What one of them says; the total time of a row is when it was sent."""
        rng = random.Random(number)
        yield Started({"node": "n", "host": "h", "pid": 1})
        yield Loaded()
        await asyncio.sleep(rng.uniform(0, 5))
        due = rng.uniform(0, 60)
        for second in itertools.count(5, 5):
            await asyncio.sleep(5)
            if second < due:
                yield Beat(second)
                continue
            due += 60
            times = {"cpu_seconds": 1.0, "eval_seconds": 0.0, "logging_seconds": 0.0}
            yield Measured(
                EvalRow(
                    global_step=second, submission_seconds=float(second), **times,
                    total_seconds=time.time(), metrics={"validation/loss": 1.5},
                ),
            )  # fmt: skip


class Late:
    """A callback that records the delay of rows."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def on_evaluation(self, spec: TrialSpec, row: EvalRow) -> None:
        """Records the delay of a row."""
        self.delays.append(time.time() - row.total_seconds)

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Does nothing."""


def main() -> None:
    """Prints the rows per second, their delay, and the driver's share of a core."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=100.0)
    options = parser.parse_args()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    kind: Any = ray.remote(Talkers)
    actors = [kind.options(max_concurrency=options.trials).remote() for _ in range(PROCESSES)]
    stream = {"num_returns": "streaming", "_generator_backpressure_num_objects": 1}
    team: Any = SimpleNamespace(followers=[], node=None)
    specs = list(itertools.islice(plan(2 * options.trials + 1000).specs(), options.trials))
    late = Late()
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder)) as book:
        schedule = Schedule(None, Order.COST, None)
        recorder = Recorder(book, Path(folder), CallbackList([late]), len(specs))  # type: ignore[list-item]
        driver = Driver(book, Path(folder), schedule, recorder, EVERY_TRIAL)
        cluster = Cluster(workloads.get)
        running = {
            actors[number % PROCESSES].run.options(**stream).remote(number): RemoteAttempt(
                team, spec, float("inf")
            )
            for number, spec in enumerate(specs)
        }
        for _ in range(2):
            late.delays.clear()
            began, used = time.monotonic(), time.process_time()
            while time.monotonic() - began < options.seconds / 2:
                cluster._handle_events([], running, driver)
        seconds, cpu = time.monotonic() - began, time.process_time() - used
        rows = np.array(late.delays or [np.nan])
        print(
            f"{options.trials} trials: {len(rows) / seconds:.1f} rows per second (due "
            f"{options.trials / 60:.1f}), recorded {np.median(rows):.2f} s after they were sent "
            f"(median; 99% {np.percentile(rows, 99):.2f}, slowest {rows.max():.2f}); the driver "
            f"used {cpu / seconds:.0%} of a core"
        )
    ray.shutdown()


if __name__ == "__main__":
    main()
