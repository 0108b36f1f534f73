"""Reads files that people or strangers wrote, so that none can hang us, fill the memory or crash.

Regular files only, up to a size. JSON has one value per key, a bounded depth, and numbers that a
64-bit float can hold. Standard library only: scoring, the harness and the workloads use it.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 64 * 2**20  # of a file that is read as a whole
MOST_DEPTH = 100  # lists and objects inside one another
_MOST_DIGITS = 309  # of the largest 64-bit float
_LEFT_BEHIND = frozenset(
    {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini"}
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data.

    Such as .DS_Store, ._copy.py, .ipynb_checkpoints, and what operating systems leave in folders.
    """
    return name.startswith(".") or name in _LEFT_BEHIND


def private_folder(path: Path) -> Path:
    """A folder that only this user can use; is made where there is none.

    Raises:
        OSError: It cannot be made, or is a link, or another user's: whoever made it may have put
            something of theirs into it.
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
    """What a folder holds that fits a pattern, in order of name, but nothing that `is_hidden`.

    Raises:
        OSError: There is no such folder, or it cannot be read.
    """
    found = (path for path in folder.iterdir() if fnmatchcase(path.name, pattern))
    return sorted(path for path in found if not is_hidden(path.name))


def without_links(paths: Iterable[Path]) -> list[Path]:
    """Paths without those that are the same place as another one by way of a symbolic link.

    Such as `latest`, a link to the folder beside it.
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
    """How many parts of a path are symbolic links."""
    return sum(part.is_symlink() for part in (path, *path.parents))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Reads a file as a whole.

    Args:
        path: The file; a link to one is followed.
        most: The largest number of bytes that is read.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: It is a folder, pipe, socket or device, or larger than `most`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe: do not wait
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is not a regular file")
        if found.st_size <= most:
            content = _all_of(descriptor, found.st_size, most)
            if len(content) <= most:
                return content
        size = max(found.st_size, most + 1)
        raise ValueError(f"has {size:,} bytes, at most {most:,} are read")
    finally:
        os.close(descriptor)


def _all_of(descriptor: int, size: int, most: int) -> bytes:
    """What a file of about `size` bytes holds, up to one byte more than `most`."""
    content = os.read(descriptor, size + 1)
    while len(content) <= most and (more := os.read(descriptor, 2**20)):  # it grew, or is in /proc
        content += more
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Reads a text file: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: As for `read_bytes`, or it is not such text.
    """
    return decode(read_bytes(path, most))


def decode(content: bytes) -> str:
    """The text of a file's bytes, as for `read_text`; raises ValueError."""
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
    r"""Reads JSON that may have been written by hand, or by somebody who means harm.

    A lone surrogate, which no file or terminal can hold, is spelled out: \udcff.

    Raises:
        ValueError: It is not JSON, gives a key twice, is nested deeper than `MOST_DEPTH`, or has a
            number that is not finite or does not fit into a 64-bit float; the message is one line.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise ValueError(f"is nested more than {MOST_DEPTH} deep") from None
    if text.count("[") + text.count("{") > MOST_DEPTH or "\\u" in text:
        return _checked(data, MOST_DEPTH)
    return data


def check_depth(data: Any) -> None:
    """Raises ValueError where lists and dicts are nested more than `MOST_DEPTH` deep."""
    _checked(data, MOST_DEPTH)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose keys must differ: of two values for one name, neither is what was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"gives the key {twice!a} twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) >= _MOST_DIGITS and (len(digits) > _MOST_DIGITS + 1 or _overflows(digits)):
        raise ValueError(f"has a number of {len(digits)} digits, more than a 64-bit float holds")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"has the number {digits[:20]}, more than a 64-bit float holds")
    return value


def _overflows(digits: str) -> bool:
    return math.isinf(float(digits))


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"has {constant}, which is not a finite number")


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
    """The unpacked bytes of a gzip file, up to a limit.

    Args:
        path: The file.
        most: The largest number of bytes that are unpacked: a small file can hold a thousand times
            its size.

    Raises:
        OSError: It cannot be opened.
        ValueError: While reading: it is damaged, or holds more than `most` bytes.
    """

    def __init__(self, path: Path, most: int) -> None:
        super().__init__()
        self._file = gzip.GzipFile(path)
        self._most = most

    def readable(self) -> bool:
        """That it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; returns how many bytes were there."""
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
