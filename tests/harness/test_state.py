"""A submission's objects as plain data: what can be saved comes back, what cannot is named."""

import collections
import functools
import io
import random
import threading
import types
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness.kinds import NotResumableError
from harness.state import StateCodec

Point = collections.namedtuple("Point", "x y")


class Plain:
    def __init__(self, **held):
        self.__dict__.update(held)


class Slotted:
    __slots__ = ("tensor", "unset")

    def __init__(self, tensor):
        self.tensor = tensor


def through_a_file(make, change=lambda roots: None, boundary=()):
    """Saves what `change` made of fresh roots, and restores it into other fresh ones."""
    before = make()
    codec = StateCodec(before, list(boundary))
    change(before)
    file = io.BytesIO()
    torch.save(codec.encode(before), file)
    file.seek(0)
    after = StateCodec(make(), list(boundary)).restore(torch.load(file, weights_only=True))
    return before, after


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple, collections.deque)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.builds(lambda n: np.float32(n), st.floats(-1e6, 1e6, width=32))
    | st.builds(lambda n: torch.arange(float(n)), st.integers(0, 4))
    | st.builds(lambda n: np.arange(n), st.integers(0, 4)),
    lambda inner: st.lists(inner, max_size=3)
    | st.tuples(inner, inner)
    | st.builds(lambda a, b: Point(a, b), inner, inner)
    | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    | st.builds(lambda items: collections.deque(items, maxlen=5), st.lists(inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@given(values)
def test_whatever_came_during_training_comes_back(value):
    def change(roots):
        roots[0]["new"] = value

    before, after = through_a_file(lambda: [{"point": Point(0, 0)}], change)
    assert same(before[0], after[0])


def test_an_optimizer_its_schedule_and_closures_go_on_as_they_were():
    def make():
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = torch.optim.NAdam(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
        count = 0

        def tick():
            nonlocal count
            count += 1
            return count

        return [model, {"optimizer": optimizer, "schedule": schedule, "tick": tick}]

    def train(roots):
        model, state = roots
        generator = torch.Generator().manual_seed(1)
        for _ in range(5):
            state["optimizer"].zero_grad()
            model(torch.randn(4, 3, generator=generator)).square().mean().backward()
            state["optimizer"].step()
            state["schedule"].step()
            state["tick"]()

    before, after = through_a_file(make, train)
    train(before)
    train(after)
    assert same(before[0].state_dict(), after[0].state_dict())
    assert before[1]["tick"]() == after[1]["tick"]() == 11
    groups = [roots[1]["optimizer"].param_groups[0]["lr"] for roots in (before, after)]
    assert groups[0] == groups[1]
    assert all(map(same, *([p.grad for p in roots[0].parameters()] for roots in (before, after))))


def test_tensors_keep_what_they_share():
    def make():
        model = nn.Linear(4, 4)
        return [
            model,
            {"z": torch.zeros(4, 4), "plain": Plain(held=None), "slotted": Slotted(None)},
        ]

    def change(roots):
        model, state = roots
        with torch.no_grad():
            model.weight.set_(torch.ones(4, 4))
        state["z"].set_(model.weight.data.view(-1)[4:12].view(2, 4))
        state["twice"] = [state["z"], state["z"]]
        state["plain"].held = model.bias
        state["slotted"].tensor = model

    _, (model, state) = through_a_file(make, change)
    state["z"].fill_(7)
    assert model.weight.data[1:3].eq(7).all()
    assert model.weight.data[0].eq(1).all()
    assert state["twice"][0] is state["twice"][1] is state["z"]
    assert state["plain"].held is model.bias
    assert state["slotted"].tensor is model
    assert not hasattr(state["slotted"], "unset")


def test_generators_go_on_where_they_were():
    def make():
        return [
            {
                "torch": torch.Generator().manual_seed(3), "numpy": np.random.default_rng(4),
                "legacy": np.random.RandomState(5), "python": random.Random(6),
            }
        ]  # fmt: skip

    def draw(roots):
        state = roots[0]
        return [
            torch.rand(2, generator=state["torch"]).tolist(), state["numpy"].normal(),
            state["legacy"].rand(), state["python"].random(),
        ]  # fmt: skip

    before, after = through_a_file(make, draw)
    assert draw(before) == draw(after)


def test_what_was_there_is_found_again():
    module, target = types.ModuleType("m"), nn.Linear(1, 1)

    def make():
        model = nn.Linear(2, 2)
        bound = functools.partial(max, 3)
        return [model, {"dtype": torch.float32, "size": torch.Size([2]), "bound": bound}]

    def change(roots):
        model, state = roots
        state |= {
            "module": module, "target": target, "method": model.forward, "half": torch.float16,
            "shape": model.weight.shape, "weak": weakref.ref(model), "device": torch.device("cpu"),
            "range": range(3), "slice": slice(1, None), "set": {1, 2}, "frozen": frozenset({3}),
        }  # fmt: skip

    _, (model, state) = through_a_file(make, change, boundary=[module, target])
    assert state["module"] is module
    assert state["target"] is target
    assert state["weak"]() is model
    assert state["method"].__self__ is model
    assert (state["dtype"], state["half"]) == (torch.float32, torch.float16)
    assert (state["device"], state["shape"]) == (torch.device("cpu"), torch.Size([2, 2]))
    assert (state["range"], state["slice"]) == (range(3), slice(1, None))
    assert (state["set"], state["frozen"]) == ({1, 2}, frozenset({3}))
    assert state["bound"](1) == 3


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (lambda: iter([1]), r"\['it'\] holds a builtins.list_iterator"),
        (lambda: (x for x in ()), r"\['it'\] holds a builtins.generator"),
        (threading.Lock, r"\['it'\] holds a _thread.lock"),
        (lambda: {"deep": [threading.Lock()]}, r"\['it'\]\['deep'\]\[0\] holds a _thread.lock"),
        (lambda: torch.ones(1, requires_grad=True) * 2, "is a tensor with a graph"),
        (lambda: {nn.Linear(1, 1)}, "is a set of objects"),
        (lambda: np.array([object()]), r"\['it'\] holds an array of object"),
        (lambda: type("List", (list,), {})(), "holds a .*List"),
    ],
)
def test_what_cannot_be_saved_is_named_at_the_start(held, message):
    with pytest.raises(NotResumableError, match=message):
        StateCodec([{"it": held()}], [])


def test_what_cannot_be_made_again_is_named_when_it_comes():
    state = {}
    codec = StateCodec([state], [])
    state["later"] = Plain()
    with pytest.raises(NotResumableError, match=r"\['later'\] came to hold a .*Plain"):
        codec.encode([state])
    state["later"] = lambda: None
    with pytest.raises(NotResumableError, match=r"\['later'\] came to hold a builtins.function"):
        codec.encode([state])


def test_reading_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"roots": Evil()}, tmp_path / "file.pt")
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "file.pt", weights_only=True)
    assert not (tmp_path / "written").exists()
