"""Checkpoints: only a trial's own are opened, and one that cannot be kept never harms a trial."""

import math
import os
import shutil
import stat
from dataclasses import replace

import pytest
import torch

import workloads
from harness.attempt import Attempt, run_attempt
from harness.checkpoint.authentication import KEY_FILE, Place, key_of_tree
from harness.checkpoint.snapshot import read_weights
from tests.harness.test_resume import CutOffError, assert_same_rows, cut_off_after, spec_of

KEY = bytes(range(32))


class RunsACommand:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def place_of(folder, tree="tree", trial="trial", attempt=1, key=KEY):
    return Place.of_trial(str(folder), tree, trial, key, attempt)


def interrupt(spec, place):
    """Ends a trial after three evaluations; its checkpoints stay."""
    with pytest.raises(CutOffError):
        run_attempt(workloads.get, spec, Attempt(cut_off_after(3), place))


def run(spec, place, kinds=("not_resumable", "not_restored", "resumed")):
    """Runs a trial to its end; returns what it says of checkpoints, and its result."""
    said = []
    control = Attempt(lambda kind, what: kind in kinds and said.append((kind, what)), place)
    return said, run_attempt(workloads.get, spec, control)


@pytest.fixture(scope="module")
def spec():
    return spec_of("adamw", "diabetes")


@pytest.fixture(scope="module")
def whole(spec):
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
def test_a_file_that_does_not_verify_is_never_opened(tmp_path, spec, whole, name):
    place = place_of(tmp_path)
    interrupt(spec, place)
    for file in tmp_path.rglob("*.pt"):
        FORGERIES[name](file, tmp_path / "ran")
    said, result = run(spec, place_of(tmp_path, attempt=2))
    assert {kind for kind, _ in said} == {"not_restored"}
    assert all("does not verify" in what and "\n" not in what for _, what in said)
    assert_same_rows(whole, result)
    assert not (tmp_path / "ran").exists()
    again, _ = run(spec, place_of(tmp_path, attempt=3))  # the new files count, not the forged ones
    assert [kind for kind, _ in again] == ["resumed"]


@pytest.mark.parametrize(
    "other",
    [{"tree": "another"}, {"trial": "another"}, {"key": bytes(32)}],
    ids=["tree", "trial", "key"],
)
def test_files_of_another_trial_are_never_opened(tmp_path, spec, whole, other):
    theirs, ours = place_of(tmp_path / "theirs", **other), place_of(tmp_path / "ours")
    interrupt(spec, theirs)
    shutil.copytree(theirs.uri, ours.uri)
    said, result = run(spec, ours)
    assert [kind for kind, _ in said] == ["not_restored", "not_restored"]
    assert_same_rows(whole, result)


def test_a_file_of_another_process_of_the_trial_does_not_verify(tmp_path, spec):
    place = place_of(tmp_path)
    interrupt(spec, place.of_rank(1))
    shutil.copytree(place.of_rank(1).uri, tmp_path / "aside")
    shutil.rmtree(place.uri)
    shutil.copytree(tmp_path / "aside", place.uri)
    said, _ = run(spec, place)
    assert {kind for kind, _ in said} == {"not_restored"}


def test_checkpoints_of_an_earlier_version_are_passed_over(tmp_path, spec, whole):
    place = place_of(tmp_path)
    folder = tmp_path / "tree" / "trial"
    folder.mkdir(parents=True)
    torch.save({}, folder / f"{7:012}.{'a' * 64}.pt")
    said, result = run(spec, place)
    assert said == [
        ("not_restored", "checkpoints of an earlier version of chronograd cannot be read")
    ]
    assert_same_rows(whole, result)


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
def test_a_checkpoint_that_cannot_be_written_fails_no_trial(
    tmp_path, spec, whole, monkeypatch, error
):
    def full(*_args, **_keywords):
        raise error

    monkeypatch.setattr(torch, "save", full)
    said, result = run(spec, place_of(tmp_path))
    assert_same_rows(whole, result)
    ((kind, what),) = said
    assert kind == "not_resumable"
    assert str(error) in what
    assert what.endswith("if interrupted, the trial starts from scratch")
    assert not list(tmp_path.rglob("*.pt"))


def test_the_weights_of_a_trial_that_reached_its_goal_are_kept(tmp_path):
    spec = spec_of("adamw", "breast_cancer")
    easy = replace(spec.goal, target=-math.inf if spec.goal.direction == "max" else math.inf)
    spec = replace(spec, goal=easy, until="validation")
    place = place_of(tmp_path)
    said, result = run(spec, place)
    assert result.status == "reached", (said, result)
    weights = read_weights(place)
    workload = workloads.get("breast_cancer")
    model, _ = workload.init_model_fn(1)
    weights.put_into(model)
    metrics = workload.eval_model(model, weights.model_state, "validation")
    ours = {f"validation/{name}": value for name, value in metrics.items()}
    assert ours.items() <= result.rows[-1].metrics.items()
    assert read_weights(place_of(tmp_path, key=bytes(32))) is None
