"""What a submission changes in its process - clocks, the working directory - harms no record."""

import json
import os
import time

import pytest

from harness import submission, timers
from tests.fixtures.faults import write_submission

QUICK = ("--workload", "diabetes", "--ruleset", "quick.toml", "--max-steps", "5", "--out", "out")
STOPPED = "import time\nfor name in ('time', 'monotonic', 'perf_counter', 'process_time'):\n"


@pytest.fixture(autouse=True)
def clocks_are_kept():
    """A trial in this process leaves them replaced."""
    before = dict(vars(time))
    yield
    vars(time).update(before)


def write(folder, at_import="", at_step="pass"):
    file = write_submission(folder, at_step, "meddles") / "submission.py"
    file.write_text(at_import + file.read_text())


def record(folder):
    return json.loads(
        (folder / "submissions/meddles/study_0/diabetes_pytorch/trial_1/trial.json").read_text()
    )


@pytest.mark.parametrize("value", [0.0, 1e300])
def test_clocks_that_a_submission_replaces_at_import_are_not_those_that_measure(
    chronograd, tmp_path, value
):
    write(tmp_path, f"{STOPPED}    setattr(time, name, lambda: {value})\n", "time.sleep(0.002)")
    before = timers.time()
    code, _, err = chronograd("run", "./meddles", *QUICK)
    assert code == 0, err
    result = record(tmp_path / "out")["result"]
    assert 0.01 <= result["submission_seconds"] < 60
    assert 0 < result["cpu_seconds"] < 60
    events = [json.loads(line) for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()]
    assert all(before <= event["time"] <= timers.time() for event in events)


def test_a_submission_that_was_only_checked_leaves_the_process_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, f"import os\nos.chdir('/')\n{STOPPED}    setattr(time, name, lambda: 0.0)\n")
    submission.validate(tmp_path / "meddles")
    assert time.monotonic is timers.monotonic
    assert time.time is timers.time
    assert os.getcwd() == str(tmp_path)  # noqa: PTH109 - what the process has


@pytest.mark.parametrize("moves", [("import os\nos.chdir('/')\n", "pass"), ("", "os.chdir('/')")])
def test_relative_paths_are_from_where_the_command_was_given(chronograd, tmp_path, moves):
    write(tmp_path, *moves)
    (tmp_path / "point.json").write_text('{"learning_rate": 0.1}')
    arguments = ("--hparams", "point.json", "--clock", "steps", "--tuning", "external")
    code, out, err = chronograd("run", "meddles", *QUICK, *arguments)
    assert code == 0, err
    assert record(tmp_path / "out")["result"]["status"] == "step_limit"
    assert "Records in out" in out.splitlines()
