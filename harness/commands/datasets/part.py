"""A file while it is downloaded: what is there so far, its checksums, and where it came from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from harness.commands.datasets.source import File
from scoring.files import load_json
from scoring.writing import write_text

_BLOCK = 2**20


class DamagedPieceError(Exception):
    """A piece of a file does not have the checksum that its source publishes."""


class Part:
    """The beginning of a file on disk; opening it reads what is there and verifies its pieces.

    Attributes:
        size: How many bytes are there.
        origin: url, validator (ETag or Last-Modified) and total size of the file it belongs to.
    """

    def __init__(self, path: Path, file: File) -> None:
        self._path, self._file = path, file
        self._about = path.with_name(path.name + ".json")
        self.origin: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self._stream = os.fdopen(handle, "r+b", buffering=0)
        self._rewind()
        self._read_back()

    def _rewind(self) -> None:
        self.size = 0
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._piece = hashlib.sha256()
        self._kept = self._sha256.copy(), self._md5.copy()  # at the start of the current piece

    def _read_back(self) -> None:
        """Hashes what is there; cuts it off before the first damaged piece."""
        try:
            origin = load_json(self._about)
            self.origin = origin if isinstance(origin, dict) else {}
        except (OSError, ValueError):
            self.origin = {}
        if not self.origin:
            self.restart()
            return
        self._stream.seek(0)
        while block := self._stream.read(_BLOCK):
            try:
                self._hash(block)
            except DamagedPieceError:
                return
        self._stream.seek(self.size)

    def belongs_to(self, origin: dict[str, Any]) -> None:
        """Records where the file comes from, so that a later process can resume it."""
        if origin != self.origin:
            self.origin = origin
            write_text(self._about, json.dumps(origin) + "\n")

    def restart(self) -> None:
        """Removes all that is there."""
        self._stream.truncate(0)
        self._stream.seek(0)
        self._rewind()

    def write(self, block: bytes) -> None:
        """Appends bytes.

        Raises:
            DamagedPieceError: A piece that they complete is damaged; it is cut off.
        """
        view = memoryview(block)
        while view:
            view = view[self._stream.write(view) :]
        self._hash(block)

    def _hash(self, block: bytes) -> None:
        piece_bytes = self._file.piece_bytes
        view = memoryview(block)
        while view:
            room = len(view) if piece_bytes is None else piece_bytes - self.size % piece_bytes
            some, view = view[:room], view[room:]
            for digest in (self._sha256, self._md5, self._piece):
                digest.update(some)
            self.size += len(some)
            if piece_bytes is not None and (
                self.size % piece_bytes == 0 or self.size == self._file.bytes
            ):
                self._check_piece(piece_bytes)

    def _check_piece(self, piece_bytes: int) -> None:
        number = (self.size - 1) // piece_bytes
        found, self._piece = self._piece.hexdigest(), hashlib.sha256()
        sums = self._file.piece_sha256
        if number < len(sums) and found == sums[number]:
            self._kept = self._sha256.copy(), self._md5.copy()
            return
        self._sha256, self._md5 = (digest.copy() for digest in self._kept)
        start, end = number * piece_bytes, self.size
        self.size = start
        self._stream.truncate(start)
        self._stream.seek(start)
        raise DamagedPieceError(f"bytes {start:,} to {end:,} do not have their checksum")

    @property
    def sha256(self) -> str:
        """The SHA-256 of what is there."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        """The MD5 of what is there."""
        return self._md5.hexdigest()

    def put(self, target: Path) -> None:
        """Syncs the file to disk and renames it to its place, which must be free."""
        os.fsync(self._stream.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise FileExistsError(f"{target}: is there already")
        self._path.rename(target)
        self.discard()

    def discard(self) -> None:
        """Removes the part."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file; what is there stays."""
        self._stream.close()
