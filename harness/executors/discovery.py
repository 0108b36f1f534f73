"""Finds the Ray clusters that this machine belongs to. Does not import ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_OWN = "CHRONOGRAD_OWN_RAY"  # in the environment of the processes of a sweep's own Ray
_FLAG = "--gcs-address="  # of Ray's processes on every node


def running_clusters() -> list[str]:
    """Returns the addresses of the clusters with processes here, except those of `starting_own`."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        given = [word for word in process.info["cmdline"] or () if word.startswith(_FLAG)]
        if given and not _is_own(process):
            found |= {word.removeprefix(_FLAG) for word in given}
    return sorted(found)


def _is_own(process: psutil.Process) -> bool:
    try:
        return _OWN in process.environ()
    except (psutil.Error, OSError):  # another user's, or it has ended
        return False


@contextmanager
def starting_own() -> Iterator[None]:
    """Context in which a driver starts a cluster that only its own trials may use."""
    os.environ[_OWN] = "1"
    try:
        yield
    finally:
        del os.environ[_OWN]
