"""Measures how long a submission's code runs while it is not timed, from samples of its stack."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType

from harness.system.timers import monotonic, sleep

PERIOD = 0.01  # seconds between two samples
_LONGEST = 0.1  # seconds that one sample represents at most


class Sampler:
    """Samples the stack of the thread that makes it; a thread, which waits while it is timed.

    Args:
        place_in: Returns the submission's line on a stack, or "".

    Attributes:
        seconds: Seconds in which the submission's code ran, by kind of section.
        places: The line that was seen first, by kind of section.
    """

    def __init__(self, place_in: Callable[[FrameType | None], str]) -> None:
        self.seconds: dict[str, float] = {}
        self.places: dict[str, str] = {}
        self._place_in = place_in
        self._sampled = threading.get_ident()
        self._section = ""
        self._changed = threading.Event()
        self._closed = False
        threading.Thread(target=self._run, name="chronograd-integrity", daemon=True).start()

    def begin(self, section: str) -> None:
        """Starts to sample a section that is not timed."""
        self._section = section
        self._changed.set()

    def end(self) -> None:
        """Stops to sample, since the submission is timed."""
        self._section = ""
        self._changed.clear()

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self.begin("")

    def _run(self) -> None:
        while not self._closed:
            self._changed.wait()
            last = monotonic()
            while section := self._section:
                sleep(PERIOD)
                now = monotonic()
                place = self._place_in(sys._current_frames().get(self._sampled))
                if place and section == self._section:
                    self.places.setdefault(section, place)
                    passed = min(now - last, _LONGEST)
                    self.seconds[section] = self.seconds.get(section, 0.0) + passed
                last = now
