"""Runs a sweep: connects an executor, which runs trials, with a driver, which records them."""

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
from harness.sweep.restore import read_results
from harness.sweep.schedule import Schedule
from harness.system import debug_log
from harness.system.signals import signals_blocked
from scoring.records import Pruning, TrialSpec, Until
from scoring.tree import remove_half_written

if TYPE_CHECKING:  # a trial's process need not import pydantic; it sets threads before numpy
    from harness.sweep.limits import Limits
    from harness.sweep.pruner import Pruner
    from harness.sweep.studies import AutoStudies, Look
    from scoring.experiment import Experiment


log = debug_log.logger("sweep")


class Executor(Protocol):
    """Where trials run: on this machine (`executors.local`) or on Ray (`executors.cluster`)."""

    def time_baseline(self, spec: TrialSpec) -> dict[str, float]:
        """Returns the median step time of `spec` in seconds, in fresh processes, by node type."""

    def run(self, specs: Sequence[TrialSpec], driver: Driver) -> None:
        """Runs all trials and reports their events to the driver; raises KeyboardInterrupt."""


def run_sweep(
    experiment: Experiment,
    out: Path,
    executor: Executor,
    callback: SweepCallback,
    options: SweepOptions = EVERY_TRIAL,
    limits: Limits | None = None,
) -> Summary:
    """Runs the remaining trials of an experiment and records every event as it happens.

    Args:
        experiment: Plan.
        out: Results tree.
        executor: Executor that runs the trials.
        callback: Callback that receives the events.
        options: How the sweep is run.
        limits: Limits for `Pruning.PREDICT`; None for none.

    Raises:
        InterruptedSweepError: Ctrl-C or SIGTERM; running trials are recorded as interrupted.
        HeadLostError: The cluster is lost; running trials are recorded as interrupted.
        LedgerError: Another driver is running on `out`, or `out` cannot be written.
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
        studies = None
        if options.decide is not None:
            from harness.sweep.studies import AutoStudies

            studies = AutoStudies(experiment, options)
        with writing(out):
            experiment.write(out)
            left, restored = _read_remaining(experiment, book, pruner, studies)
        if restored:
            callback.on_message(None, f"restored {restored} folders of trials from the ledger")
        schedule = Schedule(pruner, options.order, limits, studies)
        recorder = Recorder(book, out, callback, len(left))
        driver = Driver(book, out, schedule, recorder, options)
        log.debug("%s: %d trials left, %s", out, len(left), options)
        callback.on_sweep_start(experiment, out, left)
        try:
            executor.run(left, driver)
            while studies is not None and (look := studies.look(experiment)) is not None:
                left = _add_studies(experiment, look, out, book)
                callback.on_message(None, look.message)
                if not left:
                    break
                experiment = look.experiment
                recorder.add(len(left))
                callback.on_sweep_start(experiment, out, left)
                executor.run(left, driver)
        except KeyboardInterrupt:
            driver.interrupt()
            raise InterruptedSweepError(driver.summary()) from None
        except HeadLostError:
            driver.interrupt()
            raise
        return driver.summary()


@signals_blocked()
def _add_studies(experiment: Experiment, look: Look, out: Path, book: Ledger) -> list[TrialSpec]:
    """Records what results decide, and returns the trials of the studies that are added."""
    book.append(look.event)
    if look.experiment is experiment:
        return []
    with writing(out):
        look.experiment.write(out)
    planned = {spec.key for spec in experiment.specs()}
    return [spec for spec in look.experiment.specs() if spec.key not in planned]


def _read_remaining(
    experiment: Experiment, book: Ledger, pruner: Pruner | None, studies: AutoStudies | None
) -> tuple[list[TrialSpec], int]:
    """Returns the remaining trials and the number of folders restored from the ledger.

    Those who decide what else must run receive the results of all other trials.
    """
    specs, done, restored = list(experiment.specs()), set(), 0
    for spec, result, is_restored in read_results(book.path.parent, specs, book.ended):
        restored += is_restored
        for learner in (pruner, studies):
            if learner is not None:
                learner.learn(spec, result)
        if result.has_ended:
            done.add(spec.key)
    is_done = pruner.is_done if pruner is not None else lambda spec: spec.key in done
    return [spec for spec in specs if not is_done(spec)], restored
