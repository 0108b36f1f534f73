"""A submission's code on its way to the machine that runs it: nodes share no file system."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import shutil
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

from harness.environment import scratch
from harness.submission.files import files_of
from harness.submission.loading import content_hash, file_of
from scoring.files import private_folder
from scoring.records import TrialSpec, UserError


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

    Raises:
        UserError: This machine's temporary folder may hold another user's files.
    """
    place = Path(spec.submission_path)
    folder = file_of(place).parent
    if file_of(place).is_file() and content_hash(place) == spec.submission_hash:
        return spec
    inside = place.relative_to(folder.parent)
    here = private_folder(scratch() / "code") / hashlib.sha256(code).hexdigest()
    aside = Path(tempfile.mkdtemp(dir=here.parent))
    try:
        with tarfile.open(fileobj=io.BytesIO(code)) as archive:
            archive.extractall(aside / folder.name, filter="data")
        if not _is_same(here / inside, aside / inside):
            shutil.rmtree(here, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was faster
                aside.rename(here)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return replace(spec, submission_path=str(here / inside))


def _is_same(there: Path, unpacked: Path) -> bool:
    """Whether what is there already is what was sent."""
    try:
        return content_hash(there) == content_hash(unpacked)
    except (OSError, UserError):
        return False
