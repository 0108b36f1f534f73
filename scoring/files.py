"""Reads untrusted files without hanging, running out of memory or crashing.

Reads regular files only, up to a size. JSON must have one value per key, a bounded depth, and
numbers that fit into a 64-bit float. Standard library only: scoring, the harness and the workloads
use it.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import math
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 64 * 2**20  # of a file that is read completely
MOST_DEPTH = 100  # of nested lists and objects
_MOST_XZ = 256 * 2**20  # bytes of memory to unpack with
_MOST_DIGITS = 309  # of the largest 64-bit float
_LEFT_BEHIND = frozenset(
    {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini"}
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not data, such as .DS_Store or ._copy.py."""
    return name.startswith(".") or name in _LEFT_BEHIND


def private_folder(path: Path) -> Path:
    """Returns a folder that only this user can access; creates it if needed.

    Raises:
        OSError: It cannot be created, or is a link or another user's, who may have put files into
            it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OSError("is a symbolic link")
    if found.st_uid != os.geteuid():
        raise OSError(f"belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


def entries(folder: Path, pattern: str = "*") -> list[Path]:
    """The paths in a folder that match a pattern, sorted by name, except hidden ones.

    Raises:
        OSError: There is no such folder, or it cannot be read.
    """
    found = (path for path in folder.iterdir() if fnmatchcase(path.name, pattern))
    return sorted(path for path in found if not is_hidden(path.name))


def without_links(paths: Iterable[Path]) -> list[Path]:
    """Removes paths that lead to the same place as another one through a symbolic link.

    For example `latest`, a link to the folder beside it.
    """
    same: dict[Path, list[Path]] = {}
    for path in paths:
        same.setdefault(path.resolve(), []).append(path)
    return [
        path
        for group in same.values()
        for path in group
        if len(group) == 1 or _links(path) == min(map(_links, group))
    ]


def _links(path: Path) -> int:
    """The number of symbolic links in a path."""
    return sum(part.is_symlink() for part in (path, *path.parents))


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Opens a file that may be anything, without waiting for a pipe; returns its descriptor.

    Args:
        path: The file; links are only followed for reading, as they may lead anywhere.
        flags: The flags of `os.open`.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is a folder, pipe, socket or device, or a link that is opened for writing.
    """
    if flags & (os.O_WRONLY | os.O_RDWR):
        if path.is_symlink():
            raise ValueError("is a symbolic link, through which nothing is written")
        flags |= os.O_NOFOLLOW
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("is not a regular file")
    return descriptor


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Reads a complete file.

    Args:
        path: The file; links are followed.
        most: The largest size in bytes.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: It is a folder, pipe, socket or device, or larger than `most`.
    """
    descriptor = open_regular(path)
    try:
        found = os.fstat(descriptor)
        if found.st_size <= most:
            content = _all_of(descriptor, found.st_size, most)
            if len(content) <= most:
                return content
        size = max(found.st_size, most + 1)
        raise ValueError(f"has {size:,} bytes, at most {most:,} are read")
    finally:
        os.close(descriptor)


def _all_of(descriptor: int, size: int, most: int) -> bytes:
    """The content of a file of about `size` bytes, up to one byte more than `most`."""
    content = os.read(descriptor, size + 1)
    while len(content) <= most and (more := os.read(descriptor, 2**20)):  # it grew, or is in /proc
        content += more
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Reads a text file: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: As for `read_bytes`, or it is not text in one of these encodings.
    """
    return decode(read_bytes(path, most))


def read_packed_text(path: Path, most: int = MOST_BYTES) -> str:
    """Reads a text file as `read_text` does; it may be compressed with gzip or xz.

    Args:
        path: The file; how it is compressed is read from its first bytes.
        most: The largest size in bytes, packed and unpacked.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: As for `read_text`, or the compressed data is damaged or too large.
    """
    content = read_bytes(path, most)
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(most + 1)
        elif content.startswith(b"\xfd7zXZ\0"):
            content = lzma.LZMADecompressor(memlimit=_MOST_XZ).decompress(content, most + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"is damaged compressed data ({error})") from None
    if len(content) > most:
        raise ValueError(f"holds more than {most:,} bytes when unpacked")
    return decode(content)


def decode(content: bytes) -> str:
    """Decodes the bytes of a text file, as `read_text` does; raises ValueError."""
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text ({error.reason} at byte {error.start})") from None


def load_json(path: Path, most: int = MOST_BYTES) -> Any:
    """Reads a JSON file, as `parse_json` reads its text.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: As for `read_text` and `parse_json`.
    """
    return parse_json(read_text(path, most))


def parse_json(text: str) -> Any:
    r"""Reads JSON that may have been written by hand or with bad intent.

    A lone surrogate, which no encoding can represent, is escaped: \udcff.

    Raises:
        ValueError: It is not JSON, gives a key twice, is nested deeper than `MOST_DEPTH`, or has a
            number that is not finite in 64 bits; the message is one line.
    """
    try:
        data = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"is nested more than {MOST_DEPTH} deep") from None
    if text.count("[") + text.count("{") > MOST_DEPTH or "\\u" in text:
        return _checked(data, MOST_DEPTH)
    return data


def check_depth(data: Any) -> None:
    """Raises ValueError where lists and dicts are nested more than `MOST_DEPTH` deep."""
    _checked(data, MOST_DEPTH)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError for a duplicate key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"gives the key {twice!a} twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) >= _MOST_DIGITS and math.isinf(float(digits[:400])):
        raise ValueError(f"has a number of {len(digits)} digits, more than a 64-bit float holds")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"has the number {digits[:20]}, more than a 64-bit float holds")
    return value


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"has {constant}, which is not a finite number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_no_number,
)


def _checked(data: Any, deeper: int) -> Any:
    """The data without lone surrogates; raises ValueError where it is nested too deep."""
    if isinstance(data, str):
        return data.encode("utf-8", "backslashreplace").decode("utf-8")
    if not isinstance(data, (dict, list)):
        return data
    if not deeper:
        raise ValueError(f"is nested more than {MOST_DEPTH} deep")
    if isinstance(data, list):
        return [_checked(item, deeper - 1) for item in data]
    return {_checked(key, deeper): _checked(item, deeper - 1) for key, item in data.items()}


class GzipReader(io.RawIOBase):
    """Reads the decompressed bytes of a gzip file, up to a limit.

    Args:
        path: The file.
        most: The largest number of decompressed bytes: a small file can expand a thousandfold.

    Raises:
        OSError: It cannot be opened.
        ValueError: While reading: it is damaged, or has more than `most` bytes.
    """

    def __init__(self, path: Path, most: int) -> None:
        super().__init__()
        self._file = gzip.GzipFile(path)
        self._most = most

    def readable(self) -> bool:
        """Returns True: it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; returns the number of bytes read."""
        try:
            count = self._file.readinto(buffer)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"is a damaged gzip file ({error})") from None
        if self._file.tell() > self._most:
            raise ValueError(f"holds more than {self._most:,} bytes when unpacked")
        return count

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()
