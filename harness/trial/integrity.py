"""Records facts about a trial by which a reviewer can recognise a manipulated measurement.

A submission runs in the harness's own process, so it cannot be prevented from manipulating it. But
most manipulations leave traces that are cheap to record: a second clock beside the submission
clock, checksums of the initial parameters and of the evaluation data, the functions that evaluate
and measure, global settings, threads, and parameters before and after every evaluation. They are
recorded before the submission is imported, after `init_optimizer_state`, and whenever the clock is
paused; never between steps. `scoring.integrity` evaluates the record.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from harness.spec import Workload
from harness.system.signals import interrupted
from harness.system.timers import monotonic, process_time
from harness.trial import audit, checksums
from harness.trial.clock import Clock
from harness.trial.seeds import Streams
from harness.trial.work import ForwardHook
from scoring.escaping import error_message
from scoring.records import TrialSpec

MAX_ENTRIES = 20  # recorded changes of one kind
_OURS = ("harness", "scoring", "workloads")
_TORCH = (torch.nn.functional, torch.nn.Module, torch.Tensor)
_CALLED = ("forward", "train", "eval", "__call__", "_call_impl")  # what an evaluation may call


class NullRecorder:
    """Records nothing: for trials whose results are not scored, as in `check`."""

    def initialised(self, model: nn.Module) -> None:
        """Called after `init_optimizer_state`."""

    def resuming(self, model: nn.Module, clock: Clock) -> None:
        """Called right before the clock is resumed."""

    def paused(self, model: nn.Module, clock: Clock) -> None:
        """Called right after the clock was paused."""

    @contextmanager
    def evaluation(self, step: int) -> Iterator[None]:
        """Context in which the training and the validation split are evaluated."""
        yield

    def summary(self) -> dict[str, Any]:
        """Returns the recorded facts, as plain data, at the trial's end."""
        return {}


class Recorder(NullRecorder):
    """Records one attempt; created before the submission is imported.

    An error in the recorder itself never reaches the trial; it is added to the record.

    Args:
        spec: The trial.
        workload: The trial's workload.
        folder: The submission's folder.
        rank: Rank of this process among those of the trial.
    """

    def __init__(self, spec: TrialSpec, workload: Workload, folder: Path, rank: int = 0) -> None:
        self._workload = workload
        self._facts: dict[str, Any] = {"evaluations": []}
        self._changed: defaultdict[str, set[str]] = defaultdict(set)
        self._classes: dict[str, type] = {}
        self._began: tuple[float, float, float] | None = None
        self._model: nn.Module | None = None  # the one that was evaluated last
        self._before: dict[str, int] = {}
        self._tensors: list[tuple[Tensor, int]] = []
        self._clock = {"submission": 0.0, "observed": 0.0, "cpu": 0.0}
        self._threads: set[str] = set()
        self._other_threads = 0
        with self._recording():
            self._record_initial(spec, rank)
        self._check_data("before_import")
        self._known_threads = set(sys._current_frames())
        self._functions = _functions(workload)
        self._settings = _settings()
        root = Path(__file__).parents[2]
        own = sys.modules[type(workload).__module__].__file__ or root
        ours = [*(root / name for name in _OURS), Path(own).parent]
        self._watch = audit.watch(folder, ours, (root / "submissions").resolve())

    def initialised(self, model: nn.Module) -> None:
        """Records the initial parameters, after the submission had access to them."""
        with self._recording():
            self._facts["initial_parameters"]["after_init"] = checksums.combine(
                checksums.model_checksums(model)
            )

    def resuming(self, model: nn.Module, clock: Clock) -> None:
        """Records what the untimed section that ends now has changed."""
        with self._recording():
            self._compare(model)
        self._began = (clock.seconds, process_time(), monotonic())

    def paused(self, model: nn.Module, clock: Clock) -> None:
        """Records timed seconds and the model's state as an untimed section begins."""
        now, cpu = monotonic(), process_time()
        if self._began is not None:
            seconds, cpu_began, began = self._began
            for name, value in (
                ("submission", clock.seconds - seconds),
                ("observed", now - began),
                ("cpu", cpu - cpu_began),
            ):
                self._clock[name] += value
        self._began = None
        self._model = model
        with self._recording():
            self._check_unchanged(model)
            self._before = checksums.model_checksums(model)

    @contextmanager
    def evaluation(self, step: int) -> Iterator[None]:
        """Measures the wall and CPU seconds of an evaluation."""
        began, cpu = monotonic(), process_time()
        yield
        self._facts["evaluations"].append([step, monotonic() - began, process_time() - cpu])

    def summary(self) -> dict[str, Any]:
        """Returns the recorded facts, after a last check."""
        if self._model is not None:
            with self._recording():
                self._compare(self._model)
                self._check_unchanged(self._model)
        self._check_data("after_trial")
        audit.unwatch()
        clock = {f"{name}_seconds": round(value, 6) for name, value in self._clock.items()}
        changed = {n: sorted(found)[:MAX_ENTRIES] for n, found in self._changed.items() if found}
        return {
            **self._facts,
            "changed": changed,
            "clock": {**clock, "other_threads": self._other_threads},
            "threads": sorted(self._threads),
            "calls": dict(self._watch.calls),
        }

    @contextmanager
    def _recording(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # a record must not end a trial
            if interrupted():
                raise
            self._facts.setdefault("fault", error_message(error)[:200])

    def _record_initial(self, spec: TrialSpec, rank: int) -> None:
        """Records the checksum of the trial's initial parameters, from a temporary model."""
        streams = Streams.of(spec)
        streams.seed_generators(rank)
        model, _ = self._workload.init_model_fn(streams.model, **spec.dropout)
        self._classes = {name: type(module) for name, module in model.named_modules()}
        checksum = checksums.combine(checksums.model_checksums(model))
        self._facts["initial_parameters"] = {"before_import": checksum}

    def _check_data(self, when: str) -> None:
        with self._recording():
            data = [self._workload.eval_arrays(split) for split in self._workload.splits[1:]]
            self._facts.setdefault("evaluation_data", {})[when] = checksums.data_checksum(data)

    def _check_unchanged(self, model: nn.Module) -> None:
        """Records everything that has changed since before the submission was imported."""
        changed = self._changed
        for owner, name, value, code in self._functions:
            found = vars(owner).get(name)
            if found is not value or (code is not None and value.__code__ is not code):
                changed["functions"].add(f"{_name_of(owner)}.{name}")
        for name, setting in _settings().items():
            if setting != self._settings[name]:
                changed["settings"].add(f"{name}: {self._settings[name]} -> {setting}")
        for name, module in model.named_modules():
            own = ", ".join(called for called in _CALLED if called in vars(module))
            if own or type(module) is not self._classes.get(name, type(module)):
                changed["modules"].add(f"{name or 'model'}: {own or type(module).__name__}")
        self._record_threads()
        self._tensors = _live_tensors(model) if _has_hooks(model) else []

    def _record_threads(self) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        new = {k: f for k, f in sys._current_frames().items() if k not in self._known_threads}
        places = {key: self._watch.place_in(frame) for key, frame in new.items()}
        self._threads |= {f"{names.get(k, 'a thread')} at {p}" for k, p in places.items() if p}
        self._other_threads = max(self._other_threads, sum(not p for p in places.values()))

    def _compare(self, model: nn.Module) -> None:
        """Records which parameters and tensors an untimed section has changed."""
        if self._before:
            now = checksums.model_checksums(model)
            self._changed["parameters"] |= {
                name for name, value in self._before.items() if now.get(name) != value
            }
            self._changed["tensors"] |= {
                f"of shape {list(tensor.shape)}"
                for tensor, version in self._tensors
                if tensor._version != version
            }
        self._before, self._tensors = {}, []


def _functions(workload: Workload) -> list[tuple[Any, str, Any, Any]]:
    """Returns what evaluates and measures: (owner, name, object, code), to be compared later."""
    roots = {*_OURS, type(workload).__module__.partition(".")[0]}
    owners: list[Any] = [*_TORCH, sys.modules["time"], workload]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in roots and module is not None:
            owners.append(module)
            owners += [
                value
                for value in vars(module).values()
                if isinstance(value, type) and value.__module__ == name
            ]
    found = []
    for owner in owners:
        for name, value in list(vars(owner).items()):
            if callable(value) or isinstance(value, (property, classmethod, staticmethod)):
                code = value.__code__ if isinstance(value, FunctionType) else None
                found.append((owner, name, value, code))
    methods = {name for cls in type(workload).__mro__ for name in vars(cls) if name[:2] != "__"}
    kept = vars(workload)
    found += [(workload, name, None, None) for name in methods if name not in kept
              and callable(getattr(type(workload), name, None))]  # fmt: skip
    return found


def _name_of(owner: Any) -> str:
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}"
    return getattr(owner, "__name__", type(owner).__name__)


def _settings() -> dict[str, str]:
    """Returns global settings that an evaluation or the clock depends on."""
    modules = torch.nn.modules.module
    hooks = (modules._global_forward_hooks, modules._global_forward_pre_hooks)
    settings = {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "gradients enabled": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "autocast": torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"),
        "torch threads": torch.get_num_threads(),
        "dispatch modes": len(_get_current_dispatch_mode_stack()),
        "global module hooks": sum(map(len, hooks)),
        "trace function": sys.gettrace() is not None,
        "profile function": sys.getprofile() is not None,
        "timer": any(signal.getitimer(which)[0] > 0 for which in range(3)),
    }
    if hasattr(os, "sched_getaffinity"):
        settings["CPUs allowed"] = len(os.sched_getaffinity(0))
        settings["priority"] = os.getpriority(os.PRIO_PROCESS, 0)
    return {name: str(value) for name, value in settings.items()}


def _has_hooks(model: nn.Module) -> bool:
    """Returns whether a module has hooks other than the one that counts training work."""
    hooks = [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    return not all(isinstance(hook, ForwardHook) for hook in hooks)


def _live_tensors(model: nn.Module) -> list[tuple[Tensor, int]]:
    """Returns all tensors except the model's own, with torch's version counters."""
    own = {id(tensor) for tensor in checksums.named_tensors(model).values()}
    return [
        (thing, thing._version)
        for thing in gc.get_objects()
        if isinstance(thing, Tensor) and id(thing) not in own and not thing.is_inference()
    ]
