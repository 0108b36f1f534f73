"""Authenticates checkpoints: a process reads only what a process with the same key has written.

Unpickling a file can run arbitrary code. So the driver creates a key for each results tree and
passes keys derived from it to its trials; the name of each file contains an HMAC-SHA256.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from scoring.writing import replacing

KEY_FILE = "checkpoint.key"
_KEY_BYTES = 32
_BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process keeps its checkpoints, and how they are authenticated.

    Attributes:
        uri: Path or URI, not shared with any other process.
        name: Id of the results tree, and the trial.
        key: Key of this trial.
        attempt: Number of the attempt that writes there, from 1.
    """

    uri: str
    name: str
    key: bytes = field(repr=False)
    attempt: int

    @classmethod
    def of_trial(cls, folder: str, tree: str, trial: str, key: bytes, attempt: int) -> Place:
        """Returns the place of a trial below a folder or URI.

        The processes of a trial only receive a key derived from `key`, the one of the tree.
        """
        name = f"{tree}/{trial}"
        own = hmac.digest(key, name.encode(), hashlib.sha256)
        return cls(f"{folder}/{name}", name, own, attempt)

    def of_rank(self, rank: int) -> Place:
        """Returns the place of one of the trial's processes; rank 0 uses the trial's."""
        if rank == 0:
            return self
        return replace(self, uri=f"{self.uri}/rank_{rank}", name=f"{self.name}/rank_{rank}")

    def sign(self, file: IO[bytes], step: int, part: str, attempt: int) -> str:
        """Returns the HMAC of a file's content and of the other arguments.

        Args:
            file: File to read, from its start; it is left at its end.
            step: Step after which it was written.
            part: Part of the state that it holds.
            attempt: Number of the attempt that wrote it.
        """
        code = hmac.new(self.key, f"{self.name}\0{attempt}\0{step}\0{part}\0".encode(), "sha256")
        file.seek(0)
        while block := file.read(_BLOCK_BYTES):
            code.update(block)
        return code.hexdigest()

    def verify(self, file: IO[bytes], step: int, part: str, attempt: int, code: str) -> bool:
        """Whether `code` is the HMAC of a file, which is left at its start."""
        verified = hmac.compare_digest(self.sign(file, step, part, attempt), code)
        file.seek(0)
        return verified


def key_of_tree(out: Path) -> bytes:
    """Returns the key of a results tree; creates one unless there is a private one."""
    if (key := read_key(out)) is not None:
        return key
    key = secrets.token_bytes(_KEY_BYTES)
    with replacing(out / KEY_FILE, mode=0o600) as file:
        file.write(key)
    return key


def read_key(out: Path) -> bytes | None:
    """Returns the key of a results tree; None if there is none that only its owner can read."""
    try:
        handle = os.open(out / KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
        key = file.read(_KEY_BYTES + 1) if private and status.st_uid == os.getuid() else b""
    return key if len(key) == _KEY_BYTES else None
