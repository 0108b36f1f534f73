"""Exceptions that end a sweep before its last trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.sweep.recorder import Summary


class InterruptedSweepError(Exception):
    """The sweep was interrupted; everything measured is recorded."""

    def __init__(self, summary: Summary) -> None:
        super().__init__("interrupted")
        self.summary = summary


class HeadLostError(Exception):
    """The connection to the cluster is lost; the message says how to resume."""
