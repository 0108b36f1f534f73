"""The system's clocks, bound before a submission can replace those in `time`.

Every process imports this module before a submission (`harness.submission.imports` does).
"""

import time as _time
from time import monotonic as monotonic
from time import perf_counter as perf_counter
from time import process_time as process_time
from time import sleep as sleep
from time import time as time

_BEFORE = dict(vars(_time))


def restore() -> None:
    """Undoes replacements in `time`, which Python's own waiting loops use."""
    vars(_time).update(_BEFORE)
