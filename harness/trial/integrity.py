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
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.spec import Workload
from harness.system.signals import interrupted
from harness.system.timers import monotonic, process_time
from harness.trial import audit, checksums, settings
from harness.trial.clock import Clock
from harness.trial.functions import OURS, Functions
from harness.trial.process_group import uncompiled
from harness.trial.sampler import Sampler
from harness.trial.seeds import Streams
from harness.trial.work import ForwardHook
from scoring.escaping import error_message
from scoring.plain import to_plain
from scoring.records import TrialSpec

MAX_ENTRIES = 20  # recorded changes of one kind
_WORKED = 0.01  # CPU seconds of a thread, while the clock is paused, that count as work
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
        self._modules: dict[str, tuple[type, dict[str, Any]]] = {}
        self._kinds: dict[str, type] = {}  # of parameters
        self._began: tuple[float, float, float] | None = None
        self._model: nn.Module | None = None  # the one that was evaluated last
        self._before: dict[str, int] = {}
        self._tensors: list[tuple[Tensor, int]] = []
        self._clock = {"submission": 0.0, "observed": 0.0, "cpu": 0.0}
        self._threads: set[str] = set()
        self._started: dict[str, float] = {}  # CPU seconds of the submission's threads
        self._other_threads = 0
        self._spec = spec
        self._planned = to_plain(spec)
        self._functions: Functions | None = None
        with self._recording():
            self._record_initial(spec, rank)
        self._check_data("before_import")
        root = Path(__file__).parents[2]
        own = sys.modules[type(workload).__module__].__file__ or root
        ours = [*(root / name for name in OURS), Path(own).parent]
        self._watch = audit.watch(folder, ours, (root / "submissions").resolve())
        self._sampler = Sampler(self._watch.place_in)
        self._known_threads = set(sys._current_frames())
        self._settings = settings.of_process()
        self._attributes = settings.of_workload(workload)
        self._sampler.begin("set-up")

    def initialised(self, model: nn.Module) -> None:
        """Records the initial parameters, after the submission had access to them."""
        self._sampler.end()
        self._attributes["eval_batch_size"] = self._workload.eval_batch_size
        with self._recording():
            self._facts["initial_parameters"]["after_init"] = checksums.combine(
                checksums.model_checksums(uncompiled(model))
            )

    def resuming(self, model: nn.Module, clock: Clock) -> None:
        """Records what the untimed section that ends now has changed."""
        self._sampler.end()
        with self._recording():
            self._compare(uncompiled(model))
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
        self._model = model = uncompiled(model)
        with self._recording():
            self._check_unchanged(model)
            self._before = checksums.model_checksums(model)
        self._started = self._watch.thread_times()
        self._sampler.begin("evaluations and checkpoints")

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
        untimed = {
            name: [round(seconds, 3), self._sampler.places[name]]
            for name, seconds in self._sampler.seconds.items()
        }
        clock = {f"{name}_seconds": round(value, 6) for name, value in self._clock.items()}
        changed = {n: sorted(found)[:MAX_ENTRIES] for n, found in self._changed.items() if found}
        return {
            **self._facts,
            "changed": changed,
            "clock": {**clock, "other_threads": self._other_threads},
            "threads": sorted(self._threads),
            "calls": dict(self._watch.calls),
            "untimed": untimed,
        }

    def close(self) -> None:
        """Stops recording."""
        self._sampler.close()
        audit.unwatch()

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
        self._modules = {n: (type(m), settings.of_layer(m)) for n, m in model.named_modules()}
        self._kinds = {name: type(parameter) for name, parameter in model.named_parameters()}
        self._functions = Functions(self._workload, model)
        checksum = checksums.combine(checksums.model_checksums(model))
        self._facts["initial_parameters"] = {"before_import": checksum}

    def _check_data(self, when: str) -> None:
        with self._recording():
            data = [self._workload.eval_arrays(split) for split in self._workload.splits[1:]]
            checksum = checksums.data_checksum(data)
            facts = self._facts.setdefault("evaluation_data", {"before_import": checksum})
            if facts.get(when) in (None, facts["before_import"]):  # a change is kept
                facts[when] = checksum

    def _check_unchanged(self, model: nn.Module) -> None:
        """Records everything that has changed since before the submission was imported."""
        changed = self._changed
        if self._functions is not None:
            changed["functions"] |= set(self._functions.replaced())
        for kind, before, now in (
            ("settings", self._settings, settings.of_process()),
            ("workload", self._attributes, settings.of_workload(self._workload)),
            ("trial", self._planned, to_plain(self._spec)),
        ):
            changed[kind] |= {
                f"{name}: {value} -> {now.get(name)}"
                for name, value in before.items()
                if now.get(name) != value
            }
        self._check_model(model)
        self._check_data("after_trial")
        self._record_threads()
        self._tensors = _live_tensors(model) if _has_hooks(model) else []

    def _check_model(self, model: nn.Module) -> None:
        """Records methods, classes and settings of the model that differ from the workload's."""
        modules = dict(model.named_modules())
        found = self._changed["modules"]
        found |= {f"{name}: not in the model" for name in self._modules.keys() ^ modules.keys()}
        for name, module in modules.items():
            kind, plain = self._modules.get(name, (type(module), {}))
            names = [called for called in _CALLED if called in vars(module)]
            names += [key for key, value in plain.items() if vars(module).get(key) != value]
            if names or type(module) is not kind:
                found.add(f"{name or 'model'}: {', '.join(names) or type(module).__name__}")
        for name, parameter in model.named_parameters():
            if type(parameter) is not self._kinds.get(name):
                found.add(f"{name}: {type(parameter).__name__}")

    def _record_threads(self) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        new = {k: f for k, f in sys._current_frames().items() if k not in self._known_threads}
        places = {key: self._watch.place_in(frame) for key, frame in new.items()}
        self._threads |= {f"{names.get(k, 'a thread')} at {p}" for k, p in places.items() if p}
        self._other_threads = max(self._other_threads, sum(not p for p in places.values()))

    def _compare(self, model: nn.Module) -> None:
        """Records what an untimed section has changed: parameters, tensors, time of threads."""
        for name, seconds in self._watch.thread_times().items():
            if seconds - self._started.get(name, seconds) > _WORKED:
                self._threads.add(name)
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


def _has_hooks(model: nn.Module) -> bool:
    """Returns whether a module has hooks other than the one that counts training work."""
    modules = torch.nn.modules.module
    hooks = [*modules._global_forward_hooks.values(), *modules._global_forward_pre_hooks.values()]
    for module in model.modules():
        hooks += [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return not all(isinstance(hook, ForwardHook) for hook in hooks)


def _live_tensors(model: nn.Module) -> list[tuple[Tensor, int]]:
    """Returns all tensors except the model's own, with torch's version counters."""
    own = {id(tensor) for tensor in checksums.named_tensors(model).values()}
    return [
        (thing, thing._version)
        for thing in gc.get_objects()
        if isinstance(thing, Tensor) and id(thing) not in own and not thing.is_inference()
    ]
