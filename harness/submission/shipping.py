"""Sends a submission's code to the machine that runs it: nodes need not share a file system."""

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


def pack(place: Path) -> bytes:
    """Returns the files of a submission's folder, as a compressed archive."""
    content, folder = io.BytesIO(), file_of(place).parent
    with tarfile.open(fileobj=content, mode="w", dereference=True) as archive:
        for path in files_of(folder):
            archive.add(path, path.relative_to(folder))
    return gzip.compress(content.getvalue(), mtime=0)


def unpack(spec: TrialSpec, code: bytes) -> TrialSpec:
    """Returns the spec with the submission's folder on this machine, unpacked there if needed.

    Args:
        spec: The trial, with the submission's folder on the driver's machine.
        code: The folder, as returned by `pack`.

    Raises:
        UserError: Other users can write to this machine's temporary folder.
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
    """Returns whether the files already on this machine are those that were sent."""
    try:
        return content_hash(there) == content_hash(unpacked)
    except (OSError, UserError):
        return False
