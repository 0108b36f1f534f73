"""Records what a submission's code does besides training: files, processes, introspection.

Python reports these calls to audit hooks (PEP 578), which cannot be removed once they are added.
This process has one hook; it records the calls that come from the files of one submission.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path, PurePath
from types import FrameType
from typing import Any

_INTROSPECTION = {  # recorded only if the submission's own code calls it directly
    "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._getframe",
    "sys._current_frames", "sys.settrace", "sys.setprofile", "ctypes.dlopen", "ctypes.dlsym",
}  # fmt: skip
_PROCESSES = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "socket.connect",
    "subprocess.Popen",
}  # fmt: skip
_EVENTS = {*_INTROSPECTION, *_PROCESSES, "open"}
_COMPILERS = ("/torch/_inductor/", "/torch/_dynamo/", "/torch/utils/cpp_extension", "/triton/")
_WRAPPERS = ("/inspect.py", "/ctypes/__init__.py")  # modules that wrap introspection
_DATA = {  # suffixes of files that can hold parameters or examples
    ".arrow", ".bin", ".csv", ".gz", ".h5", ".npy", ".npz", ".parquet", ".pickle", ".pkl", ".pt",
    ".pth", ".safetensors", ".zip",
}  # fmt: skip
_SYSTEM = ("/dev/null", "/dev/random", "/dev/urandom", "/etc/", "/proc/", "/sys/", "/usr/")
_CACHES = ("torchinductor", ".triton", "torch_extensions", "__pycache__")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MAX_CALLS = 20  # different calls that are recorded


class Watch:
    """Records the calls of one submission.

    Args:
        folder: The submission's folder.
        ours: Folders of code that the submission may call; calls made by this code do not count.
        library: Folder of the library of submissions, whose shared modules it may import.

    Attributes:
        calls: Maps what was called to the line of the submission that called it first.
    """

    def __init__(self, folder: Path, ours: Iterable[Path], library: Path) -> None:
        self._folder = f"{folder}{os.sep}"
        self._ours = tuple(f"{path}{os.sep}" for path in ours)
        python = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *sys.path, library}
        self._python = tuple(f"{path}{os.sep}" for path in python if path)
        self._archives = {os.path.realpath(path) for path in sys.path}  # such as python311.zip
        self._busy = False
        self.calls: dict[str, str] = {}

    def take(self, event: str, args: tuple[Any, ...]) -> None:
        """Records an event if the submission caused it."""
        if self._busy or len(self.calls) >= MAX_CALLS:
            return
        self._busy = True  # the calls below raise audit events too
        try:
            what = self._opened(*args) if event == "open" else event
            if what and what not in self.calls:
                place = self.place_in(sys._getframe(2), direct=event in _INTROSPECTION)
                if place:
                    self.calls[what] = place
        except Exception:  # noqa: BLE001 - it would be raised inside the audited call
            return
        finally:
            self._busy = False

    def place_in(self, frame: FrameType | None, *, direct: bool = False) -> str:
        """Returns the innermost line of the submission on a stack, as "FILE:LINE".

        Args:
            frame: The innermost frame.
            direct: Whether the submission must have made the call itself.

        Returns:
            "" if the submission is not on the stack, or called it through code of the harness.
        """
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(self._folder):
                return f"{file.removeprefix(self._folder)}:{frame.f_lineno}"
            if file.startswith(self._ours) or any(part in file for part in _COMPILERS):
                return ""
            if direct and not file.endswith(_WRAPPERS):
                return ""
            frame = frame.f_back
        return ""

    def _opened(self, path: Any, mode: Any, flags: Any) -> str:
        """Returns how opening a file is recorded; "" if every submission may open it."""
        if not isinstance(path, (str, bytes, PurePath)):
            return ""
        name = os.path.realpath(os.fsdecode(path))
        if name.startswith(_SYSTEM) or any(part in name for part in _CACHES):
            return ""
        if flags & _WRITES:
            return f"writes {name}"
        if name in self._archives:
            return ""
        is_data = Path(name).suffix.lower() in _DATA
        if is_data or not name.startswith((self._folder, *self._python)):
            return f"reads {name}"
        return ""


_watched: list[Watch] = []  # empty, or the submission that is being observed
_hooked: list[bool] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS and _watched:
        _watched[0].take(event, args)


def watch(folder: Path, ours: Iterable[Path], library: Path) -> Watch:
    """Starts to record the calls of the submission in `folder`, instead of the previous one."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_hook)
    _watched[:] = [Watch(folder, ours, library)]
    return _watched[0]


def unwatch() -> None:
    """Stops recording."""
    _watched.clear()
