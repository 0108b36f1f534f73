"""Which checkpoints a process may read: only what a process with the same key has written.

A checkpoint is unpickled, which runs code of its choice. So each results tree has a key, which its
driver makes and hands to the processes of its trials, and each file an HMAC-SHA256 under it.
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
    """Where one process keeps its checkpoints, and what they are authenticated by.

    Attributes:
        uri: A path or a URI, used by nobody else.
        name: The results tree's id and the trial.
        key: Of this trial.
        attempt: The attempt that writes there, from 1.
    """

    uri: str
    name: str
    key: bytes = field(repr=False)
    attempt: int

    @classmethod
    def of_trial(cls, folder: str, tree: str, trial: str, key: bytes, attempt: int) -> Place:
        """A trial's place below a folder or URI; `key` is the tree's.

        Only the trial's own key, which follows from the tree's, is handed to its processes.
        """
        name = f"{tree}/{trial}"
        own = hmac.digest(key, name.encode(), hashlib.sha256)
        return cls(f"{folder}/{name}", name, own, attempt)

    def of_rank(self, rank: int) -> Place:
        """The place of one of a trial's processes; rank 0 has the trial's."""
        if rank == 0:
            return self
        return replace(self, uri=f"{self.uri}/rank_{rank}", name=f"{self.name}/rank_{rank}")

    def sign(self, file: IO[bytes], step: int, part: str, attempt: int) -> str:
        """The HMAC of a file from its start to its end, and of what it is said to be.

        Args:
            file: Is read; its position is then its end.
            step: The step after which it was written.
            part: What of the state it holds.
            attempt: The attempt that wrote it.
        """
        code = hmac.new(self.key, f"{self.name}\0{attempt}\0{step}\0{part}\0".encode(), "sha256")
        file.seek(0)
        while block := file.read(_BLOCK_BYTES):
            code.update(block)
        return code.hexdigest()

    def verify(self, file: IO[bytes], step: int, part: str, attempt: int, code: str) -> bool:
        """Whether `code` is the file's; its position is then its start."""
        verified = hmac.compare_digest(self.sign(file, step, part, attempt), code)
        file.seek(0)
        return verified


def key_of_tree(out: Path) -> bytes:
    """The key of a results tree; a new one where there is none that only its owner can read."""
    if (key := read_key(out)) is not None:
        return key
    key = secrets.token_bytes(_KEY_BYTES)
    with replacing(out / KEY_FILE, mode=0o600) as file:
        file.write(key)
    return key


def read_key(out: Path) -> bytes | None:
    """The key of a results tree; None where there is none that only its owner can read."""
    try:
        handle = os.open(out / KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
        key = file.read(_KEY_BYTES + 1) if private and status.st_uid == os.getuid() else b""
    return key if len(key) == _KEY_BYTES else None
