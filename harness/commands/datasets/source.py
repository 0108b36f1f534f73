"""`dataset.toml`: the files of a dataset, their addresses, sizes, checksums, licence and layout.

Beside each `workload.py` that reads files; `data download --source FILE` reads another one, for
example of a mirror.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.spec import DataError
from scoring.rulesets import first_fault
from scoring.toml import load_toml

FILE = "dataset.toml"
_MOST_FILES = 10_000
_STRICT = ConfigDict(extra="forbid", frozen=True)


def _below(path: str) -> str:
    """A relative path that stays below the folder that it is joined to."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} must be a path below the data directory")
    return path


def _single(name: str) -> str:
    """The name of a file: one visible component of a path."""
    if name in ("", ".", "..") or set(name) & set("/\\\0") or name.startswith("."):
        raise ValueError(f"{name!r} must be the name of a file")
    return name


Below = Annotated[str, AfterValidator(_below)]
Name = Annotated[str, AfterValidator(_single)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0)]


class Unpack(BaseModel):
    """What is taken out of an archive, and where to.

    An archive is a .zip, a .gz of one file, or else a tar, plain or compressed by gzip or xz.

    Attributes:
        bytes: The largest size of all unpacked files together.
        files: The largest number of unpacked files.
        take: Patterns of the members that are taken; `*` also matches "/".
        into: The folder that they are put into, below the data directory.
        strip: Number of leading folders that are removed from a member's name.
        flat: Whether all folders are removed from a member's name.
        rename: New names of members, after `strip`; only these are taken if `take` is not given.
        nested: Whether each member is a tar archive, to be unpacked into a folder of its name.
        segments: Whether members that end with .sgm are SGML whose segments become lines.
        split_lines: A .gz file is cut into files NAME_00, NAME_01, ... of this many lines.
        classes_from: The ILSVRC development kit, whose ground truth names the folder of each image.
    """

    model_config = _STRICT

    bytes: Bytes
    files: int = Field(gt=0)
    take: tuple[str, ...] = ("*",)
    into: Below = "."
    strip: int = Field(default=0, ge=0)
    flat: bool = False
    rename: dict[str, Name] = {}
    nested: bool = False
    segments: bool = False
    split_lines: int | None = Field(default=None, gt=0)
    classes_from: Name | None = None


class File(BaseModel):
    """A file of a dataset.

    Attributes:
        name: Its name; "{number}" in name, url and to is replaced if `numbers` is given.
        url: Where it is; None if a person has to get it, by accepting a licence.
        bytes: Its exact size; None if unknown.
        about_bytes: An upper estimate of an unknown size.
        sha256: Its checksum; None if unknown.
        md5: A checksum for sources that publish no better one.
        piece_bytes: The size of the pieces that `piece_sha256` has the checksums of.
        piece_sha256: The checksums of its pieces, each verified as it arrives.
        to: The folder that it is put into, if it is not an archive.
        unpack: What to take out of it; None if it is used as it is.
        only_for: The name of the file that needs it; it is not unpacked itself.
        numbers: First and last number of files that differ by a number only.
        digits: How many digits the numbers have.
    """

    model_config = _STRICT

    name: Name
    url: str | None = None
    bytes: Bytes | None = None
    about_bytes: Bytes | None = None
    sha256: Sha256 | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    piece_bytes: int | None = Field(default=None, gt=0)
    piece_sha256: tuple[Sha256, ...] = ()
    to: Below = "."
    unpack: Unpack | None = None
    only_for: Name | None = None
    numbers: tuple[int, int] | None = None
    digits: int = 1

    @model_validator(mode="after")
    def _size_is_known(self) -> Self:
        if self.bytes is None and self.about_bytes is None:
            raise ValueError(f"{self.name}: give bytes, or about_bytes if the size is unknown")
        if bool(self.piece_sha256) != (self.piece_bytes is not None):
            raise ValueError(f"{self.name}: piece_bytes and piece_sha256 need each other")
        if self.piece_bytes is not None and self.bytes is not None:
            pieces = -(-self.bytes // self.piece_bytes)
            if len(self.piece_sha256) != pieces:
                raise ValueError(
                    f"{self.name}: {len(self.piece_sha256)} checksums of {pieces} pieces"
                )
        return self

    @property
    def size(self) -> int:
        """Its size, estimated if unknown."""
        size = self.bytes if self.bytes is not None else self.about_bytes
        return size or 0

    @property
    def checksum(self) -> str:
        """Which checksum is known, for people."""
        known = "size" if self.bytes is not None else "nothing published"
        return "SHA-256" if self.sha256 else "MD5" if self.md5 else known

    def numbered(self) -> list[File]:
        """The files that this one describes: itself, or one per number."""
        if self.numbers is None:
            return [self]
        first, last = self.numbers
        return [
            self.model_copy(
                update={
                    "numbers": None,
                    **{
                        field: text.replace("{number}", f"{number:0{self.digits}}")
                        for field in ("name", "url", "to")
                        if (text := getattr(self, field)) is not None
                    },
                }
            )
            for number in range(first, last + 1)
        ]


class Dataset(BaseModel):
    """A dataset.

    Attributes:
        title: What it is.
        page: The web page that describes it.
        licence: Its licence, in one line.
        obtain: How to get the files without url; "" if all have one.
        note: What else a user should know.
        prepared_bytes: Disk space that `data prepare` needs in addition.
        file: Its files, as written; `files` has one per number.
        path: The TOML file that it was read from.
    """

    model_config = _STRICT

    title: str
    page: str
    licence: str
    obtain: str = ""
    note: str = ""
    prepared_bytes: Bytes = 0
    file: tuple[File, ...] = Field(min_length=1)
    path: Path = Path()

    @property
    def files(self) -> list[File]:
        """All files."""
        return [one for file in self.file for one in file.numbered()]

    @model_validator(mode="after")
    def _names_are_distinct_and_known(self) -> Self:
        spans = [file.numbers for file in self.file if file.numbers]
        if sum(last - first + 1 for first, last in spans) > _MOST_FILES:
            raise ValueError(f"more than {_MOST_FILES:,} files")
        names = [file.name for file in self.files]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is there twice")
        for file in self.file:
            needed = file.only_for, file.unpack.classes_from if file.unpack else None
            for other in needed:
                if other is not None and other not in names:
                    raise ValueError(
                        f"{file.name} refers to {other}, which is not a file of this dataset"
                    )
            if file.url is None and not self.obtain:
                raise ValueError(f"{file.name} has no url: say in `obtain` how to get it")
        return self


def read(path: Path) -> Dataset:
    """Reads a dataset's TOML file.

    Raises:
        DataError: There is no such file, or it is malformed; the message names the key.
    """
    try:
        return Dataset(**{**load_toml(path), "path": path})
    except ValidationError as error:
        raise DataError(f"{path}: {first_fault(error, Dataset)}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as TOML ({error})") from None


def of_workload(name: str) -> Dataset | None:
    """The dataset of a workload; None for one that makes its data or has no `dataset.toml`.

    Raises:
        WorkloadNotFoundError: There is no such workload.
        DataError: The TOML file is malformed.
    """
    import workloads

    workload = workloads.get(name)
    path = workloads.folder(workload) / FILE
    return read(path) if workload.data_source and path.is_file() else None
