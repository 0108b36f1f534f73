"""What a driver does with the messages of a trial."""

from __future__ import annotations

from harness.sweep.driver import Driver
from harness.trial.messages import (
    Beat,
    Loaded,
    Measured,
    NotRestored,
    NotResumable,
    OfTrial,
    Resumed,
)
from scoring.records import TrialSpec


def take(driver: Driver, spec: TrialSpec, message: OfTrial | Beat) -> None:
    """Passes a message of a running trial on to the driver; returns once it is on record."""
    match message:
        case Measured(row=row):
            driver.measured(spec, row)
        case Resumed(rows=rows):
            driver.resumed(spec, rows)
        case NotResumable(reason=reason):
            driver.not_resumable(spec, reason)
        case NotRestored(reason=reason):
            driver.not_restored(spec, reason)
        case Beat(steps=steps):
            driver.heartbeat(spec, steps)
        case Loaded():
            pass
