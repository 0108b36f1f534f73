"""Where the files of checkpoints lie: a folder of this machine, or what a URI names (S3, GCS, ...).

A file comes into being as a whole, or its name's digest shows that it did not.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from scoring.records import UserError


class StorageError(UserError):
    """A place cannot be used; the message names it."""


class Storage(Protocol):
    """A place for files without folders."""

    def names(self) -> list[str]:
        """Of all files, in order."""

    def workshop(self) -> Path:
        """A folder of this machine to write a file in, before it is put."""

    def put(self, file: Path, name: str) -> None:
        """Gives a file its name there; it is gone from where it was."""

    def fetched(self, name: str) -> Any:
        """A context in which a file lies on this machine, at the path that it yields."""

    def drop(self, name: str) -> None:
        """Deletes a file."""

    def clear(self) -> None:
        """Deletes everything there."""


def storage(place: str) -> Storage:
    """The storage at a path, or at a URI that pyarrow.fs opens.

    Raises:
        StorageError: Nothing opens such a URI.
    """
    return _Remote(place) if "://" in place else _Folder(Path(place))


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        return sorted(path.name for path in self._path.glob("*.pt"))

    def workshop(self) -> Path:
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def put(self, file: Path, name: str) -> None:
        file.rename(self._path / name)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        yield self._path / name

    def drop(self, name: str) -> None:
        (self._path / name).unlink()

    def clear(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


class _Remote:
    def __init__(self, uri: str) -> None:
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem

        try:
            self._system, self._path = FileSystem.from_uri(uri)
        except (ArrowException, OSError, ValueError) as error:
            raise StorageError(
                f"--checkpoint-dir {uri}: cannot be opened ({error}); give a path, or a URI that "
                "pyarrow.fs knows, such as s3://bucket/folder"
            ) from None

    def names(self) -> list[str]:
        from pyarrow.fs import FileSelector

        found = self._system.get_file_info(FileSelector(self._path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.base_name.endswith(".pt"))

    def workshop(self) -> Path:
        return Path(tempfile.gettempdir())

    def put(self, file: Path, name: str) -> None:
        self._system.create_dir(self._path, recursive=True)
        with file.open("rb") as source, self._system.open_output_stream(self._at(name)) as target:
            shutil.copyfileobj(source, target)
        file.unlink()

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            with self._system.open_input_stream(self._at(name)) as source:
                shutil.copyfileobj(source, file)
            file.flush()
            yield Path(file.name)

    def drop(self, name: str) -> None:
        self._system.delete_file(self._at(name))

    def clear(self) -> None:
        with suppress(OSError):
            self._system.delete_dir(self._path)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"
