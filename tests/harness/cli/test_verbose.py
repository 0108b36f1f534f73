"""`--verbose`: a debug log on stderr, and a file per worker."""

import logging

import pytest

from harness.system import debug_log

RUN = ("run", "torch.optim.SGD", "-w", "diabetes", "--clock", "steps", "--max-steps", "2")
LOG = "out/logs/torch.optim.SGD/study_0/diabetes/trial_1.attempt_1.log"


@pytest.fixture(autouse=True)
def silent_again():
    yield
    root = logging.getLogger("chronograd")
    for handler in [*root.handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.NOTSET)


def test_without_it_there_is_no_log(chronograd, tmp_path):
    code, _, err = chronograd(*RUN, "--out", "out")
    assert (code, "chronograd." in err) == (0, False)
    assert not (tmp_path / "out/logs").exists()


def test_decisions_of_driver_trial_and_checkpoints(chronograd, tmp_path):
    code, out, err = chronograd("--verbose", *RUN, "--out", "out")
    assert (code, "chronograd." in out) == (0, False)
    for line in (
        "chronograd.sweep: ",
        "chronograd.driver: torch.optim.SGD/study_0/diabetes/trial_1: next of 1",
        "chronograd.trial: step 1, ", "chronograd.checkpoint: saved the state of step 1 ",
        "chronograd.trial: ended: step_limit, step 2", "trial_1: ended, step_limit, step 2, ",
    ):  # fmt: skip
        assert line in err, line
    worker = (tmp_path / LOG).read_text()
    assert all(line in err.splitlines() for line in worker.splitlines())
    assert worker.count("chronograd.trial: step ") == 2
    assert worker.endswith("chronograd.trial: ended: step_limit, step 2. \n")


def test_trials_run_where_no_log_can_be_written(chronograd, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/logs").write_text("a file")
    code, _, err = chronograd("--verbose", *RUN, "--out", "out")
    assert (code, "ended: step_limit" in err) == (0, True)


def test_a_file_is_capped_and_keeps_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(debug_log, "FILE_BYTES", 2000)
    with debug_log.written_to(tmp_path / "a" / "worker.log"):
        for number in range(1000):
            debug_log.logger("test").debug("line %d", number)
    files = sorted((tmp_path / "a").iterdir())
    assert [file.name for file in files] == ["worker.log", "worker.log.1"]
    assert all(file.stat().st_size <= 2000 for file in files)
    assert files[0].read_text().endswith("line 999\n")
