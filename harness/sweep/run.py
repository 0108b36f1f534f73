"""A sweep: hands trials to an executor, and what comes back to its driver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.sweep.callback import CallbackList, SweepCallback
from harness.sweep.driver import Driver
from harness.sweep.interruption import HeadLostError, InterruptedSweepError
from harness.sweep.ledger import Ledger, writing
from harness.sweep.options import EVERY_TRIAL, SweepOptions
from harness.sweep.recorder import Recorder, Summary
from harness.sweep.restore import read_back
from harness.sweep.schedule import Schedule
from scoring.records import Pruning, TrialSpec, Until
from scoring.tree import remove_half_written

if TYPE_CHECKING:  # the plan imports torch, which a trial's process must not do too early
    from harness.sweep.limits import Limits
    from harness.sweep.pruner import Pruner
    from scoring.experiment import Experiment


class Executor(Protocol):
    """Where trials run: in this process (`executors.local`) or on Ray (`executors.cluster`)."""

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Median seconds of a step of `spec`, in fresh processes, by node type."""

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs every trial and tells the driver what happens; raises KeyboardInterrupt."""


def run_sweep(
    experiment: Experiment,
    out: Path,
    executor: Executor,
    callback: SweepCallback,
    options: SweepOptions = EVERY_TRIAL,
    limits: Limits | None = None,
) -> Summary:
    """Runs what is left of an experiment, recording every event as it comes.

    Args:
        experiment: The plan.
        out: The results tree.
        executor: Where trials run.
        callback: Who looks on.
        options: How it is run.
        limits: Where trials are given up on a prediction; None for nowhere.

    Raises:
        InterruptedSweepError: Ctrl-C or SIGTERM; running trials are recorded as interrupted.
        HeadLostError: So are those of a cluster that is gone.
        LedgerError: Another driver works on `out`.
    """
    callback = CallbackList([callback])
    with Ledger(out, options) as book:
        remove_half_written(out)
        if book.notice:
            callback.on_message(None, book.notice)
        pruner = None
        if options.pruning is not Pruning.OFF and experiment.options.until is Until.VALIDATION:
            from harness.sweep.pruner import Pruner

            pruner = Pruner(experiment)
        with writing(out):
            experiment.write(out)
            left, restored = _read_what_is_left(experiment, out, pruner)
        if restored:
            callback.on_message(None, f"{restored} trials' folders were written from the ledger")
        schedule = Schedule(pruner, options.order, limits)
        driver = Driver(book, out, schedule, Recorder(book, out, callback, len(left)), options)
        callback.on_sweep_start(experiment, out, left)
        try:
            executor.run(left, driver)
        except KeyboardInterrupt:
            driver.interrupt()
            raise InterruptedSweepError(driver.summary()) from None
        except HeadLostError:
            driver.interrupt()
            raise
        return driver.summary()


def _read_what_is_left(
    experiment: Experiment, out: Path, pruner: Pruner | None
) -> tuple[list[TrialSpec], int]:
    """The trials that are left, and how many folders were written again from the ledger.

    Tells the pruner of all others.
    """
    done, restored = set(), 0
    for spec, result, again in read_back(out, experiment):
        restored += again
        if pruner is not None:
            pruner.learn(spec, result)
        if result.has_ended:
            done.add(spec.key)
    is_done = pruner.is_done if pruner is not None else lambda spec: spec.key in done
    return [spec for spec in experiment.specs() if not is_done(spec)], restored
