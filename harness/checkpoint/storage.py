"""Storage of checkpoint files: a folder on this machine, or a URI (S3, GCS, ...).

A folder's files appear atomically; an incomplete remote file does not match the HMAC in its name.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from scoring.records import UserError


class StorageError(UserError):
    """A storage cannot be used; the message names it."""


class Storage(Protocol):
    """A flat collection of files."""

    def names(self) -> list[str]:
        """Returns the names of all checkpoint files, sorted."""

    def staging_folder(self) -> Path:
        """Returns a folder on this machine in which to write a file before `put`."""

    def put(self, file: Path, name: str) -> None:
        """Moves a file into the storage under a name."""

    def opened(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Returns a context manager with a file, open for reading."""

    def drop(self, name: str) -> None:
        """Deletes a file."""

    def clear(self, keep: str) -> None:
        """Deletes everything except files whose names contain `keep`."""


def storage(place: str) -> Storage:
    """Returns the storage at a path, or at a URI that pyarrow.fs supports.

    Raises:
        StorageError: The URI cannot be opened.
    """
    return _Remote(place) if "://" in place else _Folder(Path(place))


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        regular = (path for path in self._path.glob("*.pt") if not path.is_symlink())
        return sorted(path.name for path in regular if path.is_file())

    def staging_folder(self) -> Path:
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def put(self, file: Path, name: str) -> None:
        file.rename(self._path / name)

    def opened(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return (self._path / name).open("rb")

    def drop(self, name: str) -> None:
        (self._path / name).unlink()

    def clear(self, keep: str) -> None:
        with suppress(OSError):  # the folder is missing, or keeps some files
            for path in self._path.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                elif keep not in path.name:
                    path.unlink(missing_ok=True)
            self._path.rmdir()


class _Remote:
    def __init__(self, uri: str) -> None:
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem

        try:
            self._system, self._path = FileSystem.from_uri(uri)
        except (ArrowException, OSError, ValueError) as error:
            raise StorageError(
                f"--checkpoint-dir {uri}: cannot be opened ({error}); give a path, or a URI that "
                "pyarrow.fs supports, such as s3://bucket/folder"
            ) from None

    def names(self) -> list[str]:
        from pyarrow.fs import FileSelector

        found = self._system.get_file_info(FileSelector(self._path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.base_name.endswith(".pt"))

    def staging_folder(self) -> Path:
        return Path(tempfile.gettempdir())

    def put(self, file: Path, name: str) -> None:
        self._system.create_dir(self._path, recursive=True)
        with file.open("rb") as source, self._system.open_output_stream(self._at(name)) as target:
            shutil.copyfileobj(source, target)
        file.unlink()

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        with tempfile.TemporaryFile() as file:
            with self._system.open_input_stream(self._at(name)) as source:
                shutil.copyfileobj(source, file)
            file.seek(0)
            yield file

    def drop(self, name: str) -> None:
        self._system.delete_file(self._at(name))

    def clear(self, keep: str) -> None:
        from pyarrow.fs import FileSelector

        with suppress(OSError):
            found = self._system.get_file_info(FileSelector(self._path, allow_not_found=True))
            for info in found:
                if not info.is_file:
                    self._system.delete_dir(info.path)
                elif keep not in info.base_name:
                    self._system.delete_file(info.path)
            if not any(info.is_file and keep in info.base_name for info in found):
                self._system.delete_dir(self._path)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"
