"""Records what a submission's code does besides training: files, processes, introspection.

Python reports these calls to audit hooks (PEP 578), which cannot be removed once they are added.
This process has one hook; it records the calls that come from the files of one submission.
"""

from __future__ import annotations

import _posixsubprocess
import _thread
import os
import sys
import sysconfig
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath
from types import FrameType, ModuleType
from typing import Any

_INTROSPECTION = {  # recorded only if the submission's own code calls it directly
    "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._getframe",
    "sys._current_frames", "sys.settrace", "sys.setprofile", "ctypes.dlopen", "ctypes.dlsym",
}  # fmt: skip
_PROCESSES = {
    "multiprocessing.spawn", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system",
    "socket.connect", "subprocess.Popen",
}  # fmt: skip
_FRAMES = {"tb_frame", "gi_frame", "cr_frame", "ag_frame"}  # attributes that lead to callers
_THREAD = "threading.start"
_WORKLOAD = "harness.workload"  # raised by `harness.spec.Workload`
_EVENTS = {*_INTROSPECTION, *_PROCESSES, _THREAD, _WORKLOAD, "object.__getattr__", "open"}
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
        self._busy: set[int] = set()  # threads
        self._started: list[tuple[threading.Thread, str]] = []
        self.calls: dict[str, str] = {}

    def take(self, event: str, args: tuple[Any, ...]) -> None:
        """Records an event if the submission caused it."""
        thread = threading.get_ident()
        if thread in self._busy or len(self.calls) >= MAX_CALLS:
            return
        self._busy.add(thread)  # the calls below raise audit events too
        try:
            what = self._described(event, args)
            if what and what not in self.calls:
                direct = event in _INTROSPECTION or event == "object.__getattr__"
                anywhere = event == _WORKLOAD
                caller: FrameType | None = sys._getframe(2)
                if caller and caller.f_code.co_filename == __file__:  # of a function of `_audit`
                    caller = caller.f_back
                place = self.place_in(caller, direct=direct, anywhere=anywhere)
                if place:
                    self._record(what, place, args)
        except Exception:  # noqa: BLE001 - it would be raised inside the audited call
            return
        finally:
            self._busy.discard(thread)

    def _described(self, event: str, args: tuple[Any, ...]) -> str:
        if event == "open":
            return self._opened(*args)
        if event == "object.__getattr__":
            return f"reads {args[1]}"
        return "makes a workload" if event == _WORKLOAD else event

    def _record(self, what: str, place: str, args: tuple[Any, ...]) -> None:
        thread = getattr(args[0], "__self__", None) if what == _THREAD else None
        if isinstance(thread, threading.Thread):  # it may fetch data: judged by what it does
            self._started.append((thread, place))
        else:
            self.calls[what] = place

    def thread_times(self) -> dict[str, float]:
        """Returns the CPU seconds of each live thread that the submission started."""
        times = {}
        self._started = [(thread, place) for thread, place in self._started if thread.is_alive()]
        for thread, place in self._started:
            with suppress(OSError, ValueError):  # not Linux, or it has just ended
                stat = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
                times[f"{thread.name} of {place}"] = int(stat.split()[0]) / 1e9
        return times

    def place_in(
        self, frame: FrameType | None, *, direct: bool = False, anywhere: bool = False
    ) -> str:
        """Returns the innermost line of the submission on a stack, as "FILE:LINE".

        Args:
            frame: The innermost frame.
            direct: Whether the submission must have made the call itself.
            anywhere: Whether it may have made the call through code of the harness.

        Returns:
            "" if the submission is not on the stack, or called it through code of the harness.
        """
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(self._folder):
                return f"{file.removeprefix(self._folder)}:{frame.f_lineno}"
            if not anywhere and (
                file.startswith(self._ours) or any(part in file for part in _COMPILERS)
            ):
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
        if event == "object.__getattr__" and args[1] not in _FRAMES:
            return  # by far the most frequent ones
        _watched[0].take(event, args)


def watch(folder: Path, ours: Iterable[Path], library: Path) -> Watch:
    """Starts to record the calls of the submission in `folder`, instead of the previous one."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_hook)
        _audit(_posixsubprocess, "fork_exec", "multiprocessing.spawn")
        _audit(_thread, "start_new_thread", _THREAD)
        _audit(threading, "_start_new_thread", _THREAD)
        _audit(threading, "_start_joinable_thread", _THREAD)  # Python 3.13
    _watched[:] = [Watch(folder, ours, library)]
    return _watched[0]


def _audit(module: ModuleType, name: str, event: str) -> None:
    """Makes a function that starts threads or processes raise an audit event."""
    function = vars(module).get(name)
    if function is None:  # in another version of Python
        return

    def audited(*args: Any, **kwargs: Any) -> Any:
        sys.audit(event, args[0])
        return function(*args, **kwargs)

    vars(module)[name] = audited


def unwatch() -> None:
    """Stops recording."""
    _watched.clear()
