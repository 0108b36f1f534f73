"""Measures the cost of a large sweep's driver: each operation, resuming, `chronograd status`.

    python -m benchmarks.driver [--trials 1000 5000 20000] [--concurrent 1000] [--rows 10]

It runs complete sweeps with exact pruning, in simulated time: trials are played from a list of
their times, everything else is the real driver, with its ledger synced to the disk. Plans are those
of AlgoPerf's v0.5 competition (14 workloads, 5 studies of 5 trials) with more submissions.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.sweep.options import SweepOptions

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from harness.progress.status import read_status
from harness.sweep.callback import CallbackList
from harness.sweep.driver import Driver
from harness.sweep.ledger import Ledger
from harness.sweep.pruner import Pruner
from harness.sweep.run import _read_remaining, run_sweep
from scoring import rulesets
from scoring.experiment import Experiment, PlannedSubmission, PlannedWorkload
from scoring.records import (
    ClockKind,
    EvalRow,
    Goal,
    RunOptions,
    Status,
    TrialResult,
    TrialSpec,
    Tuning,
)
from scoring.tree import LEDGER_FILE

BUDGET = 6.0  # seconds of the simulated clock; the fastest submission takes one
STUDIES, TRIALS = 5, 5


def plan(trials: int) -> Experiment:
    """An experiment of about `trials` trials: many submissions on algoperf-0.5's workloads."""
    rules = PlannedWorkload(
        goal=Goal(metric="loss", direction="min", target=1.0), test_goal=None,
        budget_seconds=BUDGET, eval_period_seconds=0.5, step_hint=100, baseline_step_seconds=None,
    )  # fmt: skip
    ruleset = rulesets.load("algoperf-0.5")
    names = [*ruleset.scored, *ruleset.held_out]
    count = round(trials / (STUDIES * TRIALS * len(names)))
    points = [[{"learning_rate": 0.001 * k + t} for t in range(TRIALS)] for k in range(STUDIES)]
    return Experiment(
        ruleset=ruleset, tuning=Tuning.EXTERNAL, studies=STUDIES, trials=TRIALS,
        options=RunOptions(clock=ClockKind.STEPS),
        workloads=dict.fromkeys(names, rules),
        submissions={
            f"submission_{n:03}": PlannedSubmission(path="", hash="", points=points)
            for n in range(max(2, count))
        },
    )  # fmt: skip


def times_of(experiment: Experiment) -> dict[str, float]:
    """Every trial's time to target, infinite for a miss, of strong and weak submissions."""
    rng = np.random.default_rng(0)
    strengths = {
        key: rng.choice([1.0, 1.5, 2.0, 3.0, 5.0, 9.0]) * rng.uniform(1, 1.3)
        for key in itertools.product(experiment.submissions, experiment.workloads)
    }
    times = {}
    for spec in experiment.specs():
        time_ = strengths[spec.submission, spec.workload] * np.exp(rng.normal(0, 0.3))
        times[spec.key] = float(time_) if time_ <= BUDGET and rng.random() < 0.8 else np.inf
    return times


class Played:
    """An executor that plays several trials at once, in the order of their simulated times."""

    def __init__(self, times: dict[str, float], concurrent: int, rows: int) -> None:
        self._times, self._concurrent, self._rows = times, concurrent, rows
        self._events: list[tuple[float, int, TrialSpec, float]] = []
        self._numbers = itertools.count()
        self._running: dict[str, TrialSpec] = {}
        self._collected: dict[str, list[EvalRow]] = {}

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Nothing is timed: the step clock charges as planned."""
        return {}

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs every trial."""
        waiting, now = list(specs), 0.0
        while waiting or self._running:
            while waiting and len(self._running) < self._concurrent:
                spec = driver.next(waiting, wait=bool(self._running))
                if spec is None:
                    break
                self._begin(spec, now, driver)
            if self._events:
                now, _, spec, second = heapq.heappop(self._events)
                self._happens(spec, second, driver)

    def _begin(self, spec: TrialSpec, now: float, driver: Driver) -> None:
        driver.started(spec, {"node": f"n{len(self._running) // 8}", "host": "h", "pid": 1})
        self._running[spec.key], self._collected[spec.key] = spec, []
        end = min(self._times[spec.key], BUDGET)
        for second in np.linspace(end / self._rows, end, self._rows).tolist():
            heapq.heappush(self._events, (now + second, next(self._numbers), spec, second))

    def _happens(self, spec: TrialSpec, second: float, driver: Driver) -> None:
        """An evaluation; perhaps the last one."""
        if spec.key not in self._running:  # it was pruned in the meantime
            return
        deadline = driver.deadline(spec)
        if second > deadline:
            self._end(spec, Status.PRUNED, np.nextafter(deadline, np.inf), driver)
            return
        reached = second >= self._times[spec.key]
        row = EvalRow(
            global_step=round(second * 1000), submission_seconds=second, cpu_seconds=second,
            eval_seconds=second / 10, logging_seconds=second / 100, total_seconds=second * 1.11,
            metrics={
                f"{split}/{name}": 0.9 if reached else 1.1 + value
                for split in ("train", "validation", "test")
                for name, value in (("loss", 0.0), ("error_rate", 0.0123456789))
            },
        )  # fmt: skip
        self._collected[spec.key].append(row)
        driver.measured(spec, row)
        driver.heartbeat(spec, row.global_step)
        if reached or second >= BUDGET:
            self._end(spec, Status.REACHED if reached else Status.OUT_OF_TIME, second, driver)

    def _end(self, spec: TrialSpec, status: Status, second: float, driver: Driver) -> None:
        del self._running[spec.key]
        driver.ended(
            spec,
            TrialResult(
                status=status, rows=self._collected.pop(spec.key), global_step=1000,
                submission_seconds=float(second), total_seconds=float(second),
                environment={"machine": {f"field_{n}": "x" * 60 for n in range(20)}},
            ),
        )  # fmt: skip
        for other in self._running.values():  # as the cluster hands out deadlines
            driver.deadline(other)


class Stopwatch:
    """CPU time of calls of methods, excluding other timed methods that they call."""

    def __init__(self, *methods: tuple[type, str]) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._inside = [0.0]
        for owner, name in methods:
            setattr(owner, name, self._timed(name, getattr(owner, name)))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._inside.append(0.0)
            began = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                took = time.thread_time() - began
                self.seconds[name].append(took - self._inside.pop())
                self._inside[-1] += took

        return call


OPERATIONS = {
    "next": (Driver, "next"), "skip": (Driver, "_record_skipped"), "start": (Driver, "started"),
    "row": (Driver, "measured"), "end": (Driver, "ended"), "proof": (Pruner, "proof"),
    "deadline": (Driver, "deadline"),
}  # fmt: skip


def sweep(trials: int, concurrent: int, rows: int, out: Path) -> None:
    """Runs a sweep and prints its operations."""
    watch = Stopwatch(*OPERATIONS.values())
    experiment = plan(trials)
    planned = sum(1 for _ in experiment.specs())
    executor = Played(times_of(experiment), concurrent, rows)
    began = time.perf_counter()
    summary = run_sweep(experiment, out, executor, CallbackList([]), options=SweepOptions())
    total = time.perf_counter() - began
    counts = ", ".join(f"{count} {how}" for how, count in sorted(summary.by_status.items()))
    size = (out / LEDGER_FILE).stat().st_size / 1e6
    print(f"\n{planned:,} trials, {concurrent:,} at once: {counts}; ledger of {size:.0f} MB")
    print(f"the driver took {total:.0f} s, {total / planned * 1e3:.1f} ms per trial")
    print("milliseconds of CPU time; the disk comes on top: each row is synced")
    print(f"{'':10}{'calls':>10}{'median':>10}{'99%':>10}{'slowest':>10} ms{'total':>8} s")
    for label, (_, name) in OPERATIONS.items():
        found = np.array(watch.seconds[name] or [0.0]) * 1e3
        print(
            f"{label:10}{len(watch.seconds[name]):>10,}{np.median(found):>10.2f}"
            f"{np.percentile(found, 99):>10.2f}{found.max():>10.2f}   {found.sum() / 1e3:>8.1f}",
            flush=True,
        )


def resident(field: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3


def resume(out: Path) -> None:
    """Prints the seconds and memory that `resume` and `status` need for reading."""
    experiment = plan(int(os.environ["CHRONOGRAD_BENCHMARK_TRIALS"]))

    books: list[Ledger] = []

    def left() -> None:
        _read_remaining(experiment, books[0], Pruner(experiment), None)

    steps: dict[str, Callable[[], object]] = {
        "Ledger()": lambda: books.append(Ledger(out)),
        "what is left": left,
        "status": lambda: read_status(out).to_plain(),
    }
    for name, step in steps.items():
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins again at VmRSS
        before, began, used = resident("VmRSS"), time.perf_counter(), time.process_time()
        step()
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        peak = resident("VmHWM") - before
        print(f"{name:20}{seconds:>8.2f} s, {cpu:.2f} s of CPU{peak:>8.0f} MB", flush=True)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 5000, 20_000])
    parser.add_argument("--concurrent", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10, help="evaluations per trial")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resume:
        resume(options.resume)
        return
    for trials in options.trials:
        with tempfile.TemporaryDirectory() as folder:
            here = [sys.executable, "-m", "benchmarks.driver"]
            environment = os.environ | {"CHRONOGRAD_BENCHMARK_TRIALS": str(trials)}
            sweep(trials, options.concurrent, options.rows, Path(folder))
            subprocess.run([*here, "--resume", folder], env=environment, check=True)


if __name__ == "__main__":
    main()
