"""`chronograd verify`: the weights that reached a goal, evaluated again in a clean process."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checkpoint.authentication import KEY_FILE
from harness.sweep.options import EVERY_TRIAL
from scoring.reading.verification import FILE, Verification, read_verification
from scoring.records import RecordError
from tests.fixtures import cheats
from tests.fixtures.toy import make_spec
from workloads.arrays import ArrayWorkload

TRIAL = "study_0/digits_pytorch/trial_1"


def trained(chronograd, out, submission="nadamw", workload="digits", **options):
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    code, _, error = chronograd(
        "run", submission, "--workload", workload, "--ruleset", "demo", "--clock", "steps",
        "--out", out, *words,
    )  # fmt: skip
    return code, error


def test_honest_weights_are_confirmed(chronograd, own_tmp, tmp_path):
    assert trained(chronograd, "out") == (0, "")
    code, out, _ = chronograd("verify", "out")
    assert code == 0, out
    assert f"confirmed: out/submissions/nadamw/{TRIAL}: " in " ".join(out.split())
    assert out.splitlines()[-1] == "1 confirmed"
    record = json.loads((tmp_path / "out/submissions/nadamw" / TRIAL / FILE).read_text())
    for name, value in record["found"].items():
        assert value == pytest.approx(record["recorded"][name], rel=1e-6)
    code, out, _ = chronograd("score", "out", "--strict")
    assert "1 of 1 trials that decide the board are confirmed" in " ".join(out.split())


def test_score_can_verify(chronograd, own_tmp, tmp_path):
    trained(chronograd, "out")
    code, out, _ = chronograd("score", "out", "--verify", "--json", "board.json")
    assert code == 0
    assert "confirmed: out/submissions/nadamw" in out
    assert "note: 1 of 1 trials that decide the board are confirmed" in out
    assert any("1 of 1" in line for line in json.loads(Path("board.json").read_text())["remarks"])
    _, out, _ = chronograd("score", "out", "--verify")  # it is recorded
    assert "confirmed: out" not in out


def test_an_evaluation_cheat_is_contradicted(chronograd, own_tmp, tmp_path):
    cheats.write_cheat(tmp_path, "evaluation_function_replaced")
    honest = ArrayWorkload.eval_model
    try:
        trained(chronograd, "out", "./evaluation_function_replaced", "diabetes")
    finally:
        ArrayWorkload.eval_model = honest
    code, out, _ = chronograd("verify", "out", "--json")
    (trial,) = json.loads(out)["trials"]
    assert (code, trial["outcome"]) == (1, "contradicted")
    assert trial["what"].startswith("evaluated again, its weights give validation/loss ")
    code, out, _ = chronograd("score", "out", "--strict")
    assert code == 1
    assert "integrity: " in out
    assert "its weights give validation/loss" in " ".join(out.split())


def test_the_submission_is_not_loaded(chronograd, own_tmp, tmp_path):
    chronograd("new", "mine", "--tuning", "self")
    file = tmp_path / "mine/submission.py"
    file.write_text(f"{file.read_text()}\nopen({str(tmp_path / 'loaded')!r}, 'w')\n")
    trained(chronograd, "out", "./mine", workload="diabetes")
    (tmp_path / "loaded").unlink()
    code, out, _ = chronograd("verify", "out")
    if "no trial has reached" not in out:
        assert code in (0, 2), out
    assert not (tmp_path / "loaded").exists()


def weights_in(folder):
    return list(folder.rglob("*.final.*.pt"))


@pytest.mark.parametrize("fault", ["deleted", "changed", "no key"])
def test_weights_that_are_missing_or_of_another_trial_are_not_verified(
    chronograd, own_tmp, tmp_path, fault
):
    trained(chronograd, "out")
    (file,) = weights_in(own_tmp)
    if fault == "deleted":
        file.unlink()
    elif fault == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    else:
        (tmp_path / "out" / KEY_FILE).unlink()
    code, out, _ = chronograd("verify", "out")
    assert code == 2
    assert "not verified: out" in out
    assert "its weights are not here" in " ".join(out.split())
    assert not (tmp_path / "out/submissions/nadamw" / TRIAL / FILE).exists()


def test_a_copied_tree_is_verified_with_the_weights_of_the_original(chronograd, own_tmp, tmp_path):
    trained(chronograd, "out")
    shutil.copytree("out", "copy")
    code, out, _ = chronograd("verify", "copy")
    assert (code, "1 confirmed" in out) == (0, True)


def test_weights_in_a_checkpoint_directory(chronograd, own_tmp, tmp_path):
    import workloads
    from harness.executors.local import LocalExecutor
    from harness.sweep.run import run_sweep
    from scoring.experiment import Experiment
    from tests.fixtures.sweeps import Quiet

    trained(chronograd, "first")
    experiment = Experiment.read(tmp_path / "first")
    run_sweep(
        experiment, tmp_path / "out", LocalExecutor(workloads.get), Quiet(),
        options=replace(EVERY_TRIAL, checkpoint_dir=str(tmp_path / "kept")),
    )  # fmt: skip
    assert weights_in(tmp_path / "kept")
    assert chronograd("verify", "out")[0] == 2
    code, out, _ = chronograd("verify", "out", "--checkpoint-dir", tmp_path / "kept")
    assert (code, "1 confirmed" in out) == (0, True), out


def test_a_tree_in_which_no_goal_was_reached_is_an_error(chronograd, own_tmp, tmp_path):
    trained(chronograd, "out", **{"max-steps": 2})
    code, _, error = chronograd("verify", "out")
    assert code == 2
    assert "no trial has reached its goal" in error


@pytest.mark.parametrize(
    ("recorded", "found", "until", "contradicted"),
    [
        (0.49, 0.49, "validation", False),
        (0.49, 0.7, "validation", True),
        (0.49, 0.5001, "validation", True),
        (0.4999, 0.5001, "validation", False),  # within 0.1%, as between machines
        (0.3, 0.45, "validation", False),  # the goal is met all the same
        (0.49, float("nan"), "validation", True),
        (0.49, 0.49, "test", True),
    ],
)
def test_what_contradicts(recorded, found, until, contradicted):
    from dataclasses import replace

    from scoring.records import Goal

    goal = Goal(metric="loss", direction="min", target=0.5)
    spec = replace(make_spec(), goal=goal, test_goal=goal, until=until)
    recorded = {"validation/loss": recorded, "test/loss": 0.4}
    again = Verification(global_step=1, recorded=recorded, found={"validation/loss": found})
    assert bool(again.contradictions(spec)) == contradicted


def test_a_record_of_another_evaluation_or_a_damaged_one(tmp_path):
    again = Verification(global_step=7, recorded={"a": 1.0}, found={"a": 1.0})
    again.write(tmp_path)
    assert read_verification(tmp_path, 7) == again
    assert read_verification(tmp_path, 8) is None
    (tmp_path / FILE).write_text('{"schema": 1, "global_step": 7, "recorded": [], "found": {}}')
    with pytest.raises(RecordError, match=r"verification\.json: damaged"):
        read_verification(tmp_path, 7)


@pytest.mark.parametrize("command", [("verify", "none"), ("landscape", "none", "a")])
def test_a_folder_without_a_tree_is_refused_and_no_ruleset_is_asked_for(
    chronograd, tmp_path, command
):
    (tmp_path / "none").mkdir()
    code, _, error = chronograd(*command)
    assert (code, "none/experiment.json: no such file" in error) == (2, True)
    assert "--ruleset" not in error
