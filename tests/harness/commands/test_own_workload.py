"""A workload in a folder of one's own: written, checked, run, swept and resumed by its path."""

import json

import pytest

import workloads
from scoring.experiment import Experiment
from tests.fixtures.faults import write_submission

RUN = ("--clock", "steps", "--device", "cpu", "--max-steps", "20")


@pytest.fixture
def task(chronograd):
    """The folder that `chronograd new --workload` writes."""
    code, out, _ = chronograd("new", "--workload", "my_task")
    assert (code, "chronograd check ./my_task" in out) == (0, True)
    return "./my_task"


def test_what_new_writes_meets_the_contract(chronograd, task):
    code, out, _ = chronograd("check", task)
    assert (code, "my_task meets the contract." in out) == (0, True)
    assert "ok   a queue can start at any batch (my_task)" in out
    code, _, err = chronograd("new", "--workload", "my_task")
    assert (code, "already exists" in err) == (2, True)
    code, _, err = chronograd("new", "--workload", "digits")
    assert (code, "is a workload of the library" in err) == (2, True)


def broken(tmp_path, old, new):
    file = tmp_path / "my_task" / "workload.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("step_hint = 2_000", "max_allowed_runtime_sec = 5.0", "does not hold: in_seconds == ("),
        ("return splits", "return splits / 1", "TypeError: unsupported operand type(s) for /"),
        ("import numpy as np", "import numpyy as np", "No module named 'numpyy', at workload.py:3"),
        ("random.default_rng(0)", "random.default_rng(0", "workload.py"),
    ],
)
def test_what_breaks_the_contract_is_said_with_its_place(
    chronograd, task, tmp_path, old, new, says
):
    broken(tmp_path, old, new)
    code, out, err = chronograd("check", task)
    assert code in (1, 2)
    assert says in out + err
    assert code == 2 or "my_task violates the contract." in out


def test_a_run_and_a_resume_find_the_folder(chronograd, task, tmp_path, monkeypatch):
    (tmp_path / "my_task" / "model.py").write_text("WIDTH = 64\n")
    broken(tmp_path, "from torch import nn\n", "from torch import nn\nfrom .model import WIDTH\n")
    folder = write_submission(tmp_path, "pass", "mine")
    code, out, err = chronograd("run", folder, "-w", task, *RUN, "--out", "out")
    assert code == 0, out + err
    planned = Experiment.read(tmp_path / "out").workloads["my_task"]
    assert planned.folder == str(tmp_path / "my_task")
    monkeypatch.delenv(workloads.OWN)
    code, out, err = chronograd("resume", "out", "--dry-run")
    assert (code, "0 trials to run" in out) == (0, True), out + err
    monkeypatch.delenv(workloads.OWN)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = chronograd("resume", "../out", "--dry-run")
    assert (code, "to run it, add --trust" in err) == (2, True)


def test_verify_and_landscape_find_the_folder_but_run_no_code_from_elsewhere(
    chronograd, task, tmp_path, own_tmp, monkeypatch
):
    broken(tmp_path, "validation_target_value = 0.97", "validation_target_value = 0.001")
    folder = write_submission(tmp_path, "pass", "mine")
    code, out, err = chronograd("run", folder, "-w", task, *RUN, "--out", "out")
    assert code == 0, out + err
    for given in (["verify", "out"], ["landscape", "out", "trial_1", "--points", "3"]):
        monkeypatch.delenv(workloads.OWN)
        code, out, err = chronograd(*given)
        assert code == 0, out + err
    monkeypatch.delenv(workloads.OWN)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for given in (["verify", "../out"], ["landscape", "../out", "trial_1"]):
        code, _, err = chronograd(*given)
        assert (code, "change to a folder that contains it" in err) == (2, True)


def test_a_sweep_and_estimate_take_a_folder(chronograd, task, tmp_path):
    place = ("nadamw", "-w", task, "-w", "digits", "--ruleset", "demo")
    code, out, _ = chronograd("sweep", *place, "--out", "out", "--dry-run")
    assert (code, "2 workloads (my_task, digits)" in out) == (0, True)


def test_a_folder_without_a_workload_is_refused(chronograd, task, tmp_path):
    code, _, err = chronograd("run", "nadamw", "-w", "./none")
    assert (code, "no workload at ./none: give the path of a folder with workload.py" in err) == (
        2,
        True,
    )
    file = tmp_path / "my_task" / "workload.py"
    file.write_text(file.read_text().replace('name = "my_task"', 'name = "digits"'))
    code, _, err = chronograd("run", "nadamw", "-w", task)
    assert (code, "there is another workload 'digits'" in err) == (2, True)
    file.write_text(file.read_text().replace('name = "digits"', "name = str(1)"))
    code, _, err = chronograd("check", task)
    assert (code, "must define one class with a literal name" in err) == (2, True)


def test_findings_as_json(chronograd, task):
    code, out, _ = chronograd("check", task, "--json")
    assert (code, json.loads(out)["passed"]) == (0, True)


def test_results_are_not_written_into_a_submissions_folder(chronograd, tmp_path):
    write_submission(tmp_path, "pass", "mine")
    for command in (("sweep", "./mine", "-w", "digits"), ("run", "./mine", "-w", "digits")):
        code, _, err = chronograd(*command, "--ruleset", "demo", "--out", "mine")
        assert (code, "is the folder of a submission; choose another --out" in err) == (2, True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["submission.py"]
