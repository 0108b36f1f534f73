"""The memory of a training step: counted from shapes alone, and measured on this machine.

Counting runs the step on torch's fake tensors, which have shapes and no data (the meta device, with
the kernels chosen as on a CPU), so that a model of any size can be counted on any machine.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from findings.frame.training import trial_spec
from harness.spec import Batch, ForwardPassMode, Workload
from harness.submission.loading import Submission
from harness.trial.calls import SubmissionCalls
from harness.trial.process_group import ProcessGroup
from harness.trial.seeds import Streams

Stored = dict[int, torch.UntypedStorage]  # storages by identity
_DETACHED = (str, bytes, int, float, bool, type(None), type, nn.Module)  # hold no state


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """The bytes of a training step.

    Attributes:
        weights: Parameters and buffers of the model.
        gradients: Gradients of the parameters.
        state: State of the optimizer; None if it cannot be counted without data.
        activations: What the forward pass keeps for the backward pass.
        kept: The same if every block is checkpointed: the blocks' inputs, and what is outside.
        block: What the largest block keeps while it is computed again; None if not measured.
        blocks: Number of blocks that are checkpointed.
    """

    weights: int
    gradients: int
    state: int | None
    activations: int
    kept: int
    block: int | None
    blocks: int


def count(
    workload: Workload,
    submission: Submission,
    hyperparameters: dict[str, Any] | None,
    batch_size: int,
    dtype: torch.dtype | None = None,
) -> Memory:
    """Counts the memory of a step without allocating it.

    Args:
        workload: The workload; one real batch of it is read.
        submission: The submission, whose first step is run.
        hyperparameters: Its hyperparameters; None for self-tuning.
        batch_size: Number of examples.
        dtype: Type of weights and floating-point inputs; None for the workload's.
    """
    batch = _batch_of(workload, batch_size, dtype)
    model = _on_meta(workload).to(dtype=dtype)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        materialise(model)
        fake: Batch = {name: mode.from_tensor(tensor) for name, tensor in batch.items()}
        saved = saved_by(model, lambda: loss_of(workload, model, fake), fake.values())
        state: int | None = None
        try:
            state = _state_of(workload, submission, hyperparameters, model, fake)
        except RuntimeError:  # the step reads values, which fake tensors do not have
            model.zero_grad()
            torch.autograd.backward(loss_of(workload, model, fake))
        return _memory(model, state, saved)


def measure(
    workload: Workload,
    submission: Submission,
    hyperparameters: dict[str, Any] | None,
    batch_size: int,
    dtype: torch.dtype | None = None,
) -> Memory:
    """Measures the same on the CPU: activations by the allocator, state after a real step."""
    batch = _batch_of(workload, batch_size, dtype)
    model, _ = workload.init_model_fn((0, 0))
    model = model.to(dtype=dtype)
    forward = partial(loss_of, workload, model, batch)
    allocated(forward)  # allocates what a process allocates once
    activations = allocated(forward)
    with checkpointed(model) as blocks:
        kept = allocated(forward)
    state = _state_of(workload, submission, hyperparameters, model, batch)
    return _memory(model, state, (activations, kept, None, blocks))


def _memory(model: nn.Module, state: int | None, saved: tuple[int, int, int | None, int]) -> Memory:
    activations, kept, block, blocks = saved
    return Memory(
        weights=size(stored([*model.parameters(), *model.buffers()])),
        gradients=size(stored(p.grad for p in model.parameters() if p.grad is not None)),
        state=state,
        activations=activations,
        kept=kept,
        block=block,
        blocks=blocks,
    )


def loss_of(workload: Workload, model: nn.Module, batch: Batch) -> Tensor:
    """The training loss [] of a batch, summed over its examples."""
    logits, _ = workload.model_fn(model, batch, None, ForwardPassMode.TRAIN, (0, 0), True)
    labels, mask = batch["targets"], batch.get("weights")
    return workload.loss_fn(label_batch=labels, logits_batch=logits, mask_batch=mask)["summed"]


def materialise(model: nn.Module) -> None:
    """Replaces the tensors of a model on the meta device by fake ones on the CPU, in place."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:  # tied weights stay tied
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    is_weight = isinstance(tensor, nn.Parameter)
                    made[id(tensor)] = nn.Parameter(empty) if is_weight else empty
                tensors[name] = made[id(tensor)]  # type: ignore[assignment]


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model: what its outermost lists and sequences of modules consist of."""
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            found += [block for block in child if any(True for _ in block.parameters())]
        else:
            found += blocks_of(child)
    return found


def saved_by(
    model: nn.Module, forward: Callable[[], Tensor], inputs: Iterable[Tensor]
) -> tuple[int, int, int, int]:
    """What a forward pass keeps, found by hooks on the tensors that autograd saves.

    Args:
        model: The model, whose tensors do not count.
        forward: The forward pass.
        inputs: The batch, which does not count either.

    Returns:
        Bytes without checkpointing; with all blocks checkpointed; of the largest block; and the
        number of blocks.
    """
    blocks = blocks_of(model)
    given = stored([*model.parameters(), *model.buffers(), *inputs])
    outside: Stored = {}
    inside: list[Stored] = [{} for _ in blocks]
    current: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        (inside[current[-1]] if current else outside).update(stored([tensor]))
        return tensor

    def enter(number: int, module: nn.Module, arguments: Any, named: Any) -> None:
        outside.update(stored(_tensors_in((arguments, named), {})))
        current.append(number)

    def leave(module: nn.Module, arguments: Any, output: Any) -> None:
        current.pop()

    handles = [
        block.register_forward_pre_hook(partial(enter, number), with_kwargs=True)
        for number, block in enumerate(blocks)
    ]
    handles += [block.register_forward_hook(leave) for block in blocks]
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    for handle in handles:
        handle.remove()
    del loss
    everything = dict(outside)  # the input of the first block may be kept by nothing else
    for kept in inside:
        everything |= kept
    return (
        size(everything, given),
        size(outside, given),
        max((size(kept, {**given, **outside}) for kept in inside), default=0),
        len(blocks),
    )


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[int]:
    """Context in which all blocks of a model are checkpointed; gives their number."""
    blocks = blocks_of(model)
    for block in blocks:
        block.forward = partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )
    try:
        yield len(blocks)
    finally:
        for block in blocks:
            del block.forward


def allocated(forward: Callable[[], Tensor]) -> int:
    """The bytes that a forward pass leaves allocated while its loss can be differentiated."""
    gc.collect()
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler writes lines to stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss = forward()
    del loss
    return int(sum(event.self_cpu_memory_usage for event in profiler.key_averages()))


def stored(tensors: Iterable[Tensor]) -> Stored:
    """The storages of tensors."""
    return {storage._cdata: storage for storage in map(Tensor.untyped_storage, tensors)}


def size(storages: Stored, given: Stored | None = None) -> int:
    """The bytes of storages that are not among those given."""
    return sum(storage.nbytes() for key, storage in storages.items() if key not in (given or {}))


def _batch_of(workload: Workload, batch_size: int, dtype: torch.dtype | None) -> Batch:
    batch = next(workload.build_input_queue((0, 0), "train", batch_size))
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in batch.items()}


def _on_meta(workload: Workload) -> nn.Module:
    """A new model on the meta device."""
    device, workload.device = workload.device, torch.device("meta")
    try:
        with torch.device("meta"):
            model, _ = workload.init_model_fn((0, 0))
    finally:
        workload.device = device
    return model


class _OneBatch:
    """An input queue that always gives the same batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self.position = batch, 0

    def __next__(self) -> Batch:
        self.position += 1
        return self._batch


def _state_of(
    workload: Workload,
    submission: Submission,
    hyperparameters: dict[str, Any] | None,
    model: nn.Module,
    batch: Batch,
) -> int:
    """The bytes of the optimizer's state after a step."""
    spec = trial_spec(submission, workload, hyperparameters, steps=100)
    calls = SubmissionCalls(submission, workload, spec, Streams.of(spec), ProcessGroup())
    calls.initialise(model, None, _OneBatch(batch))  # type: ignore[arg-type]
    calls.train_step()
    own = [*model.parameters(), *model.buffers(), *batch.values()]
    own += [p.grad for p in model.parameters() if p.grad is not None]
    return size(stored(_tensors_in(calls.snapshot().state["optimizer_state"], {})), stored(own))


def _tensors_in(thing: Any, seen: dict[int, Any]) -> Iterator[Tensor]:
    """The tensors that an object holds, directly or not; models and functions are left out."""
    if id(thing) in seen or isinstance(thing, _DETACHED):
        return
    seen[id(thing)] = thing
    if isinstance(thing, Tensor):
        yield thing
        return
    parts: Iterable[Any] = vars(thing).values() if hasattr(thing, "__dict__") else ()
    if isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values(), *parts]
    elif isinstance(thing, list | tuple | set):
        parts = [*thing, *parts]
    for part in parts:
        yield from _tensors_in(part, seen)
