"""Unpacks archives that may be damaged or hostile: never outside a folder, never without bounds."""

from __future__ import annotations

import errno
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, cast

from harness.commands.datasets.classes import Folders
from harness.commands.datasets.source import Unpack
from harness.spec import DataError

_BLOCK = 2**20
_LARGEST_HEADER = 2**20  # bytes that tarfile may read at once, into memory
_MOST_EXPANSION = 20  # of a compressed tar, members that are not taken included
_ALWAYS = 64 * 2**20  # bytes that any archive may expand to
_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\0"
_SEGMENT = re.compile(rb"<seg[^>]*>(.*)</seg>")


class _RefusedError(Exception):
    """Something about an archive that is not unpacked."""


def unpack(
    archive: Path,
    rules: Unpack,
    folder: Path,
    classes: Folders | None = None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Unpacks an archive into a new folder.

    Args:
        archive: The file.
        rules: What is taken, where it goes, and the largest size and number of files.
        folder: The folder, which is created.
        classes: The folder of each file that `rules.classes_from` sorts.
        tick: Called after each block; an exception of it ends the unpacking.

    Raises:
        DataError: It is damaged, has nothing that is to be taken, or a member that leads out of
            the folder, is a link or a device, or is larger than expected.
    """
    sink = _Sink(rules, folder, classes, tick)
    name = archive.name
    try:
        if name.endswith(".zip"):
            _unzip(archive, sink)
        elif name.endswith(".gz") and not name.endswith(".tar.gz"):
            _gunzip(archive, sink)
        else:
            _untar(archive, sink)
        if not sink.files:
            raise _RefusedError(f"has none of {', '.join([*rules.take, *rules.rename])}")
    except _RefusedError as error:
        raise DataError(f"{archive}: {error}; nothing of it was put in place") from None
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise DataError(f"{archive}: is damaged ({error}); fetch it again") from None
    except (gzip.BadGzipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); fetch it again") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a position before the start, in a damaged archive
            raise
        raise DataError(f"{archive}: is damaged ({error.strerror}); fetch it again") from None


class _Sink:
    """Where members go: it decides which are taken, and counts files and bytes."""

    def __init__(
        self, rules: Unpack, folder: Path, classes: Folders | None, tick: Callable[[], None]
    ) -> None:
        self.rules, self._folder, self._classes, self._tick = rules, folder, classes, tick
        self.files, self._bytes = 0, 0

    def place(self, member: str) -> PurePosixPath | None:
        """The path of a member below the folder; None if it is not taken."""
        rules = self.rules
        if not any(fnmatchcase(member, pattern) for pattern in rules.take):
            return None
        parts = PurePosixPath(member).parts
        if member.startswith("/") or ".." in parts or "\0" in member or "\\" in member:
            raise _RefusedError(f"has the member {member!r}, which leads out of the folder")
        kept = parts[-1:] if rules.flat else parts[rules.strip :]
        if not kept:
            return None
        if rules.rename:
            new = rules.rename.get("/".join(kept))
            return None if new is None else PurePosixPath(rules.into, new)
        if self._classes is not None:
            if kept[-1] not in self._classes:
                raise _RefusedError(f"has {kept[-1]}, of which no class is known")
            kept = (self._classes[kept[-1]], kept[-1])
        return PurePosixPath(rules.into, *kept)

    def write(self, place: PurePosixPath, source: IO[bytes], name: str) -> None:
        """Writes a member's content to its place."""
        if self.rules.segments and name.endswith(".sgm"):
            self._write_blocks(place, _segments(source))
        else:
            self._write_blocks(place, iter(lambda: source.read(_BLOCK), b""))

    def write_pieces(self, place: PurePosixPath, source: IO[bytes], lines: int) -> None:
        """Writes a text in files NAME_00, NAME_01, ... of so many lines each."""
        pieces = _Pieces(source, lines)
        number = 0
        while not pieces.ended:
            self._write_blocks(place.with_name(f"{place.name}_{number:02d}"), pieces.next_piece())
            number += 1

    def _write_blocks(self, place: PurePosixPath, blocks: Iterator[bytes]) -> None:
        self.files += 1
        if self.files > self.rules.files:
            raise _RefusedError(f"has more than the expected {self.rules.files:,} files")
        path = self._folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("xb")
        except FileExistsError:
            raise _RefusedError(f"has {place} twice") from None
        with file:
            for block in blocks:
                self._tick()
                self._bytes += len(block)
                if self._bytes > self.rules.bytes:
                    raise _RefusedError(f"unpacks to more than {self.rules.bytes:,} bytes")
                file.write(block)


def _untar(archive: Path, sink: _Sink) -> None:
    with archive.open("rb") as file:
        start = file.read(len(_XZ))  # names may lie: imagenetv2-matched-frequency.tar.gz is no .gz
    if start.startswith(_GZIP):
        opened = cast("IO[bytes]", gzip.open(archive))  # noqa: SIM115 - closed below
    elif start == _XZ:
        opened = cast("IO[bytes]", lzma.open(archive))  # noqa: SIM115 - closed below
    else:
        opened = archive.open("rb")
    most = max(_MOST_EXPANSION * archive.stat().st_size, sink.rules.bytes) + _ALWAYS
    with opened:
        _untar_stream(_Bounded(opened, most), sink)


def _untar_stream(stream: _Bounded, sink: _Sink) -> None:
    with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
        for member in tar:
            tar.members = []  # a million of them are not kept in memory
            place = None if member.isdir() else sink.place(member.name)
            if place is None:
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise _RefusedError(f"has {member.name!r}, which is a link or a device")
            if sink.rules.nested:
                inner = _Nested(sink, place.with_suffix(""))
                _untar_stream(_Bounded(content, member.size + _ALWAYS), inner)
            else:
                sink.write(place, content, member.name)


class _Nested(_Sink):
    """Puts the members of an archive within an archive into a folder of its name."""

    def __init__(self, outer: _Sink, folder: PurePosixPath) -> None:
        self._outer, self._inner = outer, folder
        self.rules = outer.rules.model_copy(update={"nested": False})

    def place(self, member: str) -> PurePosixPath | None:
        """The path of a member: its name in the folder."""
        if PurePosixPath(member).name != member or member in ("", ".", ".."):
            raise _RefusedError(f"has the member {member!r}, which leads out of the folder")
        return self._inner / member

    def write(self, place: PurePosixPath, source: IO[bytes], name: str) -> None:
        """Writes a member's content to its place."""
        self._outer.write(place, source, name)


class _Bounded:
    """A stream that refuses to be read beyond a position, or much at once by tarfile."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int = -1) -> bytes:
        """Reads up to `size` bytes."""
        if size < 0 or size > _LARGEST_HEADER:
            raise _RefusedError("has a header that is larger than 1 MiB")
        block = self._stream.read(size)
        self._check()
        return block

    def seek(self, position: int, whence: int = 0) -> int:
        """Moves to a position."""
        if whence == 0 and position > self._most:
            self._refuse()
        return self._stream.seek(position, whence)

    def seekable(self) -> bool:
        """Whether it can be moved."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._stream.tell()

    def _check(self) -> None:
        if self._stream.tell() > self._most:
            self._refuse()

    def _refuse(self) -> None:
        raise _RefusedError(f"expands to more than {self._most:,} bytes")


def _unzip(archive: Path, sink: _Sink) -> None:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            place = None if info.is_dir() else sink.place(info.filename)
            if place is None:
                continue
            if kind not in (0, stat.S_IFREG):
                raise _RefusedError(f"has {info.filename!r}, which is a link or a device")
            with opened.open(info) as content:
                sink.write(place, content, info.filename)


def _gunzip(archive: Path, sink: _Sink) -> None:
    place = PurePosixPath(sink.rules.into, archive.name.removesuffix(".gz"))
    with gzip.open(archive) as opened:
        content = cast("IO[bytes]", opened)
        if sink.rules.split_lines is None:
            sink.write(place, content, place.name)
        else:
            sink.write_pieces(place, content, sink.rules.split_lines)


class _Pieces:
    """A text, in pieces of so many lines; a block of bytes is read at a time."""

    def __init__(self, source: IO[bytes], lines: int) -> None:
        self._source, self._lines = source, lines
        self._left = source.read(_BLOCK)

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return not self._left

    def next_piece(self) -> Iterator[bytes]:
        """The blocks of the next piece."""
        missing = self._lines
        while self._left:
            count = self._left.count(b"\n")
            if count < missing:
                yield self._left
                missing -= count
                self._left = self._source.read(_BLOCK)
                continue
            end = 0
            for _ in range(missing):
                end = self._left.index(b"\n", end) + 1
            block, self._left = self._left[:end], self._left[end:] or self._source.read(_BLOCK)
            yield block
            return


def _segments(source: IO[bytes]) -> Iterator[bytes]:
    """The text of each segment of an SGML file, a line each."""
    for line in source:
        if match := _SEGMENT.search(line):
            yield match[1].strip() + b"\n"
