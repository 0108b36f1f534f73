"""Checkpoints: only a trial's own are opened, and one that cannot be saved never harms a trial."""

import io
import json
import math
import os
import pickle
import shutil
import stat
import sys
import types
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch import nn

import workloads
from harness.checkpoint import pickling
from harness.checkpoint.authentication import KEY_FILE, Place, key_of_tree
from harness.checkpoint.snapshot import Snapshot, read_weights
from harness.checkpoint.storage import storage
from harness.checkpoint.store import Store
from harness.progress.live import PlainProgress
from harness.sweep.run import run_sweep
from harness.trial.attempt import Attempt, run_attempt
from harness.trial.messages import NotRestored, NotResumable, Resumed
from scoring.records import Failure, Status, TrialResult
from tests.fixtures.sweeps import Script, make_row, plan_toys
from tests.harness.checkpoint.test_resume import (
    CutOffError,
    assert_same_rows,
    cut_off_after,
    spec_of,
)
from tests.harness.progress.test_track import WHERE

KEY = bytes(range(32))


class RunsACommand:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def place_of(folder, tree="tree", trial="trial", attempt=1, key=KEY):
    return Place.of_trial(str(folder), tree, trial, key, attempt)


def interrupt(spec, place):
    """Interrupts a trial after three evaluations; its checkpoints stay."""
    with pytest.raises(CutOffError):
        run_attempt(workloads.get, spec, Attempt(cut_off_after(3), place))


def run(spec, place, kinds=(NotResumable, NotRestored, Resumed)):
    """Runs a trial to its end; returns its messages about checkpoints, and its result."""
    messages = []
    control = Attempt(
        lambda message: isinstance(message, kinds) and messages.append(message), place
    )
    return messages, run_attempt(workloads.get, spec, control)


@pytest.fixture(scope="module")
def spec():
    return spec_of("adamw", "diabetes")


@pytest.fixture(scope="module")
def expected(spec):
    return run_attempt(workloads.get, spec)


def change_a_byte(file, _):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file, _):
    file.write_bytes(file.read_bytes()[:-1])


def plant(file, target):
    torch.save({"objects": RunsACommand(target), "storages": []}, file)


def rename(number, value):
    def forge(file, _):
        parts = file.name.split(".")
        parts[number] = value
        file.rename(file.with_name(".".join(parts)))

    return forge


FORGERIES = {
    "byte": change_a_byte,
    "cut": cut,
    "command": plant,
    "empty": lambda file, _: file.write_bytes(b""),
    "step": rename(0, "000000000019"),
    "attempt": rename(2, "7"),
    "code": rename(3, "0" * 64),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_file_that_does_not_verify_is_never_opened(tmp_path, spec, expected, name):
    place = place_of(tmp_path)
    interrupt(spec, place)
    for file in tmp_path.rglob("*.pt"):
        FORGERIES[name](file, tmp_path / "ran")
    messages, result = run(spec, place_of(tmp_path, attempt=2))
    assert {type(message) for message in messages} == {NotRestored}
    assert all("does not verify" in m.reason and "\n" not in m.reason for m in messages)
    assert_same_rows(expected, result)
    assert not (tmp_path / "ran").exists()
    again, _ = run(spec, place_of(tmp_path, attempt=3))  # the new files count, not the forged ones
    assert [type(message) for message in again] == [Resumed]


@pytest.mark.parametrize(
    "other",
    [{"tree": "another"}, {"trial": "another"}, {"key": bytes(32)}],
    ids=["tree", "trial", "key"],
)
def test_files_of_another_trial_are_never_opened(tmp_path, spec, expected, other):
    theirs, ours = place_of(tmp_path / "theirs", **other), place_of(tmp_path / "ours")
    interrupt(spec, theirs)
    shutil.copytree(theirs.uri, ours.uri)
    messages, result = run(spec, ours)
    assert [type(message) for message in messages] == [NotRestored, NotRestored]
    assert_same_rows(expected, result)


def test_a_file_of_another_process_of_the_trial_does_not_verify(tmp_path, spec):
    place = place_of(tmp_path)
    interrupt(spec, place.of_rank(1))
    shutil.copytree(place.of_rank(1).uri, tmp_path / "aside")
    shutil.rmtree(place.uri)
    shutil.copytree(tmp_path / "aside", place.uri)
    messages, _ = run(spec, place)
    assert {type(message) for message in messages} == {NotRestored}


def test_checkpoints_of_an_earlier_version_are_skipped(tmp_path, spec, expected):
    place = place_of(tmp_path)
    folder = tmp_path / "tree" / "trial"
    folder.mkdir(parents=True)
    torch.save({}, folder / f"{7:012}.{'a' * 64}.pt")
    messages, result = run(spec, place)
    assert messages == [
        NotRestored("checkpoints of an earlier version of chronograd cannot be read")
    ]
    assert_same_rows(expected, result)


def test_a_tree_has_one_key_that_only_its_owner_reads(tmp_path):
    key = key_of_tree(tmp_path)
    file = tmp_path / KEY_FILE
    assert len(key) == 32
    assert key_of_tree(tmp_path) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in repr(place_of(tmp_path, key=key)).encode()


@pytest.mark.parametrize("change", ["readable", "short", "link"])
def test_a_key_that_others_may_know_is_replaced(tmp_path, change):
    key, file = key_of_tree(tmp_path), tmp_path / KEY_FILE
    if change == "readable":
        file.chmod(0o644)
    elif change == "short":
        file.write_bytes(b"")
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    assert key_of_tree(tmp_path) not in (key, b"")
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("x")])
def test_a_checkpoint_that_cannot_be_written_does_not_fail_the_trial(
    tmp_path, spec, expected, monkeypatch, error
):
    def full(*_args, **_keywords):
        raise error

    monkeypatch.setattr(torch, "save", full)
    messages, result = run(spec, place_of(tmp_path))
    assert_same_rows(expected, result)
    (message,) = messages
    assert isinstance(message, NotResumable)
    what = message.reason
    assert str(error) in what
    assert what.endswith("if interrupted, the trial starts from scratch")
    assert not list(tmp_path.rglob("*.pt"))


def test_the_weights_of_a_trial_that_reached_its_goal_are_kept(tmp_path):
    spec = spec_of("adamw", "breast_cancer")
    easy = replace(spec.goal, target=-math.inf if spec.goal.direction == "max" else math.inf)
    spec = replace(spec, goal=easy, until="validation")
    place = place_of(tmp_path)
    messages, result = run(spec, place)
    assert result.status == "reached", (messages, result)
    weights = read_weights(place)
    workload = workloads.get("breast_cancer")
    model, _ = workload.init_model_fn(1)
    weights.put_into(model)
    metrics = workload.eval_model(model, weights.model_state, "validation")
    ours = {f"validation/{name}": value for name, value in metrics.items()}
    assert ours.items() <= result.rows[-1].metrics.items()
    assert read_weights(place_of(tmp_path, key=bytes(32))) is None


class CannotComeBack:
    def __reduce__(self):
        return int, ("no number",)


@pytest.mark.parametrize("fault", ["other model", "class", "memory"])
def test_a_checkpoint_that_cannot_be_read_is_not_the_submissions_fault(
    tmp_path, spec, expected, monkeypatch, fault
):
    place = place_of(tmp_path)
    interrupt(spec, place)
    if fault == "other model":
        held = pickling.Known.contents
        monkeypatch.setattr(pickling.Known, "contents", lambda known: {**held(known), "x": 1})
    elif fault == "class":
        broken = {"objects": pickle.dumps(CannotComeBack()), "storages": []}
        for step in (19, 20):
            Store(place).save(step, "state", lambda file: torch.save(broken, file))
    else:

        def out_of_memory(*_args, **_keywords):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(torch, "load", out_of_memory)
    messages = []
    control = Attempt(messages.append, place_of(tmp_path, attempt=2))
    result = run_attempt(workloads.get, spec, control)
    reasons = [message.reason for message in messages if isinstance(message, NotRestored)]
    assert len(reasons) == 2
    assert all("cannot be read: " in what and "\n" not in what for what in reasons)
    assert_same_rows(expected, result)


@pytest.mark.parametrize("where", ["write", "compare", "put"])
def test_any_failure_to_save_is_reported_once(tmp_path, spec, expected, monkeypatch, where):
    def fail(*_args, **_keywords):
        raise MemoryError

    owner = type(storage(str(tmp_path))) if where == "put" else Snapshot
    monkeypatch.setattr(owner, where, fail)
    messages, result = run(spec, place_of(tmp_path))
    assert [type(message) for message in messages] == [NotResumable]
    assert_same_rows(expected, result)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def forge_and_try_again(driver, spec):
    """Loses the first attempt, whose checkpoints are forged before the second one."""
    driver.started(spec, WHERE)
    driver.measured(spec, make_row(10))
    first = driver.checkpoints(spec)
    driver.lost(spec, Failure.WORKER_LOST, "gone", "")
    driver.started(spec, WHERE)
    assert driver.checkpoints(spec) == replace(first, attempt=first.attempt + 1)
    driver.not_restored(spec, "the checkpoint of step 10 does not verify")
    driver.not_resumable(spec, "no space is left")
    driver.measured(spec, make_row(10))
    driver.ended(spec, TrialResult(status=Status.OUT_OF_TIME, submission_seconds=25.0))


def test_a_restart_from_scratch_is_recorded_and_reported(tmp_path):
    console = Console(file=io.StringIO(), soft_wrap=True)
    script = Script(forge_and_try_again)
    run_sweep(plan_toys("a"), tmp_path, script, PlainProgress(console, rows=True))
    events = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    reasons = {event["event"]: event["reason"] for event in events if "reason" in event}
    assert reasons["attempt_not_restored"] == "the checkpoint of step 10 does not verify"
    assert reasons["attempt_not_resumable"] == "no space is left"
    output = console.file.getvalue()
    assert "cannot resume from a checkpoint: the checkpoint of step 10 does not verify" in output
    assert "cannot be checkpointed: no space is left" in output
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


SUBMISSION = """
import collections, functools, logging, random
import numpy as np
import torch
from torch import nn

{before}

def get_batch_size(workload_name):
    return 32

def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    optimizer = torch.optim.SGD(model_params.parameters(), lr=0.01)
    return {{"optimizer": optimizer, "n": 0}}

def data_selection(workload, input_queue, optimizer_state, current_param_container, model_state,
                   hyperparameters, global_step, rng):
    return next(input_queue)

def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results, global_step,
                  rng):
    from harness.spec import ForwardPassMode
    optimizer = optimizer_state["optimizer"]
    optimizer.zero_grad()
    logits, model_state = workload.model_fn(
        current_param_container, batch, model_state, ForwardPassMode.TRAIN, rng, True)
    loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
    (loss["summed"] / loss["n_valid_examples"]).backward()
    {inside}
    optimizer.step()
    return optimizer_state, current_param_container, model_state
"""

OUTSIDE = {  # definition of a variable, code that changes it, the path in the message
    "number": ("COUNT = 0", "global COUNT; COUNT += 1", "submission.COUNT"),
    "list": ("SEEN = []", "SEEN.append(1)", "submission.SEEN"),
    "tensor": ("M = torch.zeros(2)", "M.add_(1)", "submission.M"),
    "array": ("M = np.zeros(2)", "M.__iadd__(1)", "submission.M"),
    "new": ("pass", "globals().setdefault('LATER', 1)", "submission.LATER"),
    "object": ("class Box: pass\nBOX = Box()", "BOX.a = 1", "submission.BOX.a"),
    "class": ("class Box:\n    n = 0", "Box.n += 1", "submission.Box.n"),
    "default": ("def f(x, seen=[]):\n    seen.append(x)", "f(1)", "submission.f.__defaults__[0]"),
    "attribute": ("def f(): pass\nf.n = 0", "f.n += 1", "submission.f.n"),
    "generator": ("G = torch.Generator()", "torch.rand(1, generator=G)", "submission.G"),
    "random": ("G = random.Random(1)", "G.random()", "submission.G"),
    "optimizer": (
        "OPT = []",
        "OPT or OPT.append(torch.optim.Adam(current_param_container.parameters())); OPT[0].step()",
        "submission.OPT[0]",
    ),
    "closure": (
        "def make():\n    n = [0]\n    def tick(): n[0] += 1\n    return tick\nTICK = make()",
        "TICK()", "submission.TICK.n[0]",
    ),
}  # fmt: skip
INSIDE = {
    "constant": ("LR = 0.1\nNAMES = ['a']", "assert LR"),
    "class": ("class Box:\n    def f(self): return 1", "optimizer_state['box'] = Box()"),
    "logger": ("LOG = logging.getLogger('mine')", "LOG.debug('step')"),
    "cache": ("@functools.lru_cache\ndef f(x): return x", "f(global_step)"),
    "compiled": (
        "@functools.partial(torch.compile, backend='eager')\ndef f(x): return x + 1",
        "f(torch.ones(global_step % 3 + 1))",
    ),
    "late EMA": ("import copy", "optimizer_state['ema'] = copy.deepcopy(current_param_container)"),
    "late partial": ("def f(x): return x", "optimizer_state['p'] = functools.partial(f, 1)"),
    "sparse": ("pass", "optimizer_state['s'] = torch.eye(3).to_sparse() * global_step"),
    "ordered": (
        "pass",
        "o = optimizer_state.setdefault('o', collections.OrderedDict()); "
        "o[global_step] = 1; assert len(list(o)) == global_step + 1, (list(o), global_step)",
    ),
    "step hook": (
        "def hook(o, *_): o.param_groups[0]['lr'] *= 0.9",
        "optimizer._optimizer_step_post_hooks or optimizer.register_step_post_hook(hook)",
    ),
    "attribute of a parameter": (
        "def use(p):\n    p.m = getattr(p, 'm', 0) + 1\n    p.grad.mul_(p.m)",
        "[use(p) for p in current_param_container.parameters()]",
    ),
}  # fmt: skip


def spec_with(folder, before, inside):
    folder.mkdir()
    code = SUBMISSION.format(before=before, inside=inside)
    (folder / "submission.py").write_text(code)
    return replace(spec_of("adamw", "diabetes"), submission_path=str(folder), tuning="self",
                   hyperparameters=None)  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_changed_variables_of_modules_are_named(tmp_path, name):
    before, inside, place = OUTSIDE[name]
    messages, result = run(
        spec_with(tmp_path / "mine", before, inside), place_of(tmp_path / "kept")
    )
    assert result.status == "step_limit", result.traceback
    (message,) = messages
    assert isinstance(message, NotResumable)
    what = message.reason
    assert f"it does not include variables of modules: {place}" in what


@pytest.mark.parametrize("name", INSIDE)
def test_objects_that_are_saved_or_recreated_do_not_prevent_a_checkpoint(tmp_path, name):
    assert_resumes(spec_with(tmp_path / "mine", *INSIDE[name]), tmp_path)


def test_a_module_variable_with_parameters_is_recreated(tmp_path):
    spec = spec_with(tmp_path / "mine", "HELD = []", "assert all(p.grad is not None for p in HELD)")
    file = tmp_path / "mine" / "submission.py"
    held = "HELD[:] = model_params.parameters()\n    return {"
    file.write_text(file.read_text().replace("return {", held))
    assert_resumes(spec, tmp_path)


def assert_resumes(spec, tmp_path):
    messages, expected = run(spec, place_of(tmp_path / "expected"))
    assert (messages, expected.status) == ([], "step_limit"), expected.traceback
    interrupt(spec, place_of(tmp_path / "kept"))
    messages, pieces = run(spec, place_of(tmp_path / "kept", attempt=2))
    assert [type(message) for message in messages] == [Resumed]
    assert_same_rows(expected, pieces)


def test_a_dictionary_at_the_address_of_one_that_is_gone_is_saved(monkeypatch):
    class Fleeting(types.ModuleType):
        __dict__ = property(lambda self: {"made": "for this call"})  # as lazy modules may do

    monkeypatch.setitem(sys.modules, "fleeting", Fleeting("fleeting"))
    model = nn.Linear(1, 1)
    known = pickling.Known({}, model)
    state = {"held": [{"made": number} for number in range(1000)]}  # one is where it was
    file = io.BytesIO()
    pickling.dump(state, file, known)
    file.seek(0)
    assert pickling.load(file, known)["state"] == state
