"""A submission's code on its way to the machine that runs it: nodes share no file system."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

from harness.code import files_of
from harness.environment import scratch
from harness.submission import content_hash, file_of
from scoring.records import TrialSpec


def packed(place: Path) -> bytes:
    """The files of a submission's folder."""
    content, folder = io.BytesIO(), file_of(place).parent
    with tarfile.open(fileobj=content, mode="w", dereference=True) as archive:
        for path in files_of(folder):
            archive.add(path, path.relative_to(folder))
    return gzip.compress(content.getvalue(), mtime=0)


def delivered(spec: TrialSpec, code: bytes) -> TrialSpec:
    """The spec with the submission's folder on this machine, unpacked where it is not there.

    Args:
        spec: With the folder on the driver's machine.
        code: The packed folder.
    """
    place = Path(spec.submission_path)
    folder = file_of(place).parent
    if file_of(place).is_file() and content_hash(place) == spec.submission_hash:
        return spec
    here = scratch() / "code" / hashlib.sha256(code).hexdigest()
    if not here.is_dir():
        here.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=here.parent))
        with tarfile.open(fileobj=io.BytesIO(code)) as archive:
            archive.extractall(aside / folder.name, filter="data")
        with contextlib.suppress(OSError):  # another process was faster
            aside.rename(here)
    return replace(spec, submission_path=str(here / place.relative_to(folder.parent)))
