"""A zoo of state: every kind is restored exactly, or is named at the first save with its place."""

import collections
import io
import random

import numpy as np
import pytest
import torch
from torch import nn

from harness.checkpoint.pickling import Known, UnsavableError, load, put_back
from harness.checkpoint.snapshot import Snapshot
from tests.fixtures.zoo import KINDS

pytestmark = pytest.mark.filterwarnings("ignore")  # some kinds are deprecated

NAMED = {
    # the order of a set depends on addresses, and so do the keys
    "set of tensors", "set of objects", "WeakSet", "object known by id",
    # memory that others own
    "overlapping windows", "tensor over an array", "array over a bytearray", "memoryview",
    "dict view",
    # what has begun
    "generator", "generator deep inside", "map of a generator", "dict iterator", "coroutine",
    "traceback",
    # what belongs to a process
    "lock", "RLock", "Event", "Thread", "threading.local", "Queue", "SimpleQueue", "ContextVar",
    "open file",
    # what is compiled, cached, or part of a graph
    "tensor with a graph", "TorchScript", "GraphModule", "local lru_cache", "cached_property",
    "weight_norm", "spectral_norm", "old weight_norm", "pruned module",
    # too deep for pickle
    "chain of 2,000 objects", "2,000 nested lists", "chain of 2,000 partials",
    # its class leaves something out
    "object with __getstate__ that leaves something out",
}  # fmt: skip


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def seed(number):
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - the global generator is what is tested


def generators():
    return torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002


def set_generators(states):
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])  # noqa: NPY002


def plain(thing):
    """What can be compared of an outcome."""
    if isinstance(thing, torch.Tensor):
        if thing.device.type == "meta":
            return thing.shape
        values = thing.detach().resolve_conj().resolve_neg().clone().contiguous()
        return (
            str(thing.dtype),
            tuple(thing.shape),
            values.reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
    if isinstance(thing, (np.ndarray, np.generic)):
        return str(thing.dtype), thing.shape, thing.tobytes()
    if isinstance(thing, dict):
        return [(plain(key), plain(value)) for key, value in thing.items()]
    if isinstance(thing, (list, tuple, collections.UserList)):
        return [plain(item) for item in thing]
    return repr(thing) if " at 0x" not in repr(thing) else type(thing).__qualname__


def process(name):
    """What a process has once the submission was initialised."""
    model = make_model()
    state = {"held": KINDS[name][0](model)}
    seed(7)
    return model, state, Known({}, model)


def steps(name, model, state, number):
    step = KINDS[name][1]
    return [
        plain(
            [step(state["held"], model), model.state_dict(), *(p.grad for p in model.parameters())]
        )
        for _ in range(number)
    ]


def outcome(name):
    """None for a kind that is restored exactly, else what the first save says."""
    model, state, known = process(name)
    steps(name, model, state, 3)
    file = io.BytesIO()
    snapshot = Snapshot({"params": model, "optimizer_state": state}, known, model, None)
    states = generators()
    try:
        snapshot.write(file)
        file.seek(0)
        snapshot.compare(file)
    except UnsavableError as error:
        return str(error)
    set_generators(states)
    whole = steps(name, model, state, 3)
    model, state, known = process(name)
    file.seek(0)
    back = put_back(load(file, known), known)
    model, state = back["params"], back["optimizer_state"]
    set_generators(states)
    assert steps(name, model, state, 3) == whole
    return None


def test_there_are_enough_kinds():
    assert len(KINDS) >= 150
    optimizers = {
        name for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    } - {"Optimizer"}  # fmt: skip
    assert optimizers <= {name[6:].split("(")[0] for name in KINDS if name.startswith("optim.")}
    schedulers = {
        name for name, kind in vars(torch.optim.lr_scheduler).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.lr_scheduler.LRScheduler)
    } - {"_LRScheduler"}  # fmt: skip
    assert schedulers <= {name[13:].split("(")[0] for name in KINDS if name.startswith("lr_sch")}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_restored_exactly_or_named(name):
    said = outcome(name)
    if name not in NAMED:
        assert said is None
    else:
        assert "optimizer_state['held']" in said
        assert "\n" not in said
