"""A zoo of state: every kind is restored exactly, or the first save names it and its path."""

import collections
import io
import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

from harness.checkpoint.pickling import Known, UnsavableError, load, restore_objects
from harness.checkpoint.snapshot import Snapshot
from tests.fixtures.zoo import KINDS

pytestmark = pytest.mark.filterwarnings("ignore")  # some kinds are deprecated

NAMED = {
    # the order of a set depends on addresses, and so do the keys
    "set of tensors", "set of objects", "WeakSet", "object known by id",
    # memory that other objects own
    "overlapping windows", "tensor over an array", "array over a bytearray", "memoryview",
    "dict view",
    # code that has started to run
    "generator", "generator deep inside", "map of a generator", "dict iterator", "coroutine",
    "traceback",
    # objects that belong to a process
    "lock", "RLock", "Event", "Thread", "threading.local", "Queue", "SimpleQueue", "ContextVar",
    "open file",
    # objects that are compiled, cached, or part of a graph
    "tensor with a graph", "TorchScript", "GraphModule", "local lru_cache", "cached_property",
    "weight_norm", "spectral_norm", "old weight_norm", "pruned module",
    # too deep for pickle
    "chain of 2,000 objects", "2,000 nested lists", "chain of 2,000 partials",
    # objects whose class omits attributes
    "object with __getstate__ that leaves something out",
}  # fmt: skip
if sys.version_info >= (3, 12):  # it has no lock
    NAMED -= {"cached_property"}
if sys.version_info >= (3, 13):  # pickle goes deeper
    NAMED -= {"chain of 2,000 objects", "2,000 nested lists", "chain of 2,000 partials"}


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


def plain(obj):
    """Converts an outcome to values that can be compared."""
    if isinstance(obj, torch.Tensor):
        if obj.device.type == "meta":
            return obj.shape
        values = obj.detach().resolve_conj().resolve_neg().clone().contiguous()
        return (
            str(obj.dtype),
            tuple(obj.shape),
            values.reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
    if isinstance(obj, (np.ndarray, np.generic)):
        return str(obj.dtype), obj.shape, obj.tobytes()
    if isinstance(obj, dict):
        return [(plain(key), plain(value)) for key, value in obj.items()]
    if isinstance(obj, (list, tuple, collections.UserList)):
        return [plain(item) for item in obj]
    return repr(obj) if " at 0x" not in repr(obj) else type(obj).__qualname__


def process(name):
    """Returns what a process has after the submission is initialised."""
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
    """Returns None for a kind that is restored exactly, else the message of the first save."""
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
    expected = steps(name, model, state, 3)
    model, state, known = process(name)
    file.seek(0)
    back = restore_objects(load(file, known), known)
    model, state = back["params"], back["optimizer_state"]
    set_generators(states)
    assert steps(name, model, state, 3) == expected
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
    message = outcome(name)
    if name not in NAMED:
        assert message is None
    else:
        assert "optimizer_state['held']" in message
        assert "\n" not in message
