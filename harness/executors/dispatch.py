"""Passes the messages of a trial to the driver."""

from __future__ import annotations

from harness.sweep.driver import Driver
from harness.trial.messages import (
    Beat,
    Loaded,
    Measured,
    NotRestored,
    NotResumable,
    OfTrial,
    Printed,
    Resumed,
)
from scoring.records import TrialSpec


def dispatch(driver: Driver, spec: TrialSpec, message: OfTrial | Printed | Beat) -> None:
    """Passes a message of a running trial to the driver; returns when it is recorded."""
    match message:
        case Measured(row=row):
            driver.measured(spec, row)
        case Resumed(rows=rows):
            driver.resumed(spec, rows)
        case NotResumable(reason=reason):
            driver.not_resumable(spec, reason)
        case NotRestored(reason=reason):
            driver.not_restored(spec, reason)
        case Printed(text=text):
            driver.printed(spec, text)
        case Beat(steps=steps):
            driver.heartbeat(spec, steps)
        case Loaded():
            pass
