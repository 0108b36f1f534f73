"""`status` of a sweep that is being prepared says what is done."""

import json
import os
import resource
import threading

from harness.sweep.preparation import preparing, read_preparation
from tests.fixtures.faults import write_submission
from tests.fixtures.sweeps import plan_toys

LINE = "timing the baseline: digits (3 of 13)"


def test_status_of_a_sweep_without_a_plan(chronograd, tmp_path):
    announced = []
    out = tmp_path / "out"
    with preparing(out, announced.append) as announce:
        assert "is being prepared" in chronograd("status", "out")[1]
        announce("timing the baseline: digits (2 of 13)")
        announce(LINE)
        code, text, _ = chronograd("status", "out")
        assert (code, text.endswith(f"): {LINE}.\n")) == (0, True)
        code, text, _ = chronograd("status", "out", "--json")
        assert json.loads(text)["preparation"]["doing"] == LINE
    assert announced[-1] == LINE
    assert not out.exists()
    assert chronograd("status", "out")[0] == 2


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "preparing.json")
    assert read_preparation(tmp_path) is None
    with preparing(tmp_path, lambda line: None) as announce:
        announce(LINE)


def test_a_full_disk_does_not_stop_the_preparation(tmp_path):
    """What is announced is lost at most; results could not be recorded, as the ledger says."""
    announced = []
    with preparing(tmp_path, announced.append) as announce:
        announce(LINE)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, limit[1]))
        try:
            announce(LINE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert announced == [LINE, LINE]


def test_status_of_a_sweep_that_is_extended(chronograd, tmp_path):
    plan_toys("a").write(tmp_path)
    with preparing(tmp_path, lambda line: None) as announce:
        announce(LINE)
        _, text, _ = chronograd("status", ".")
        assert "0 of 1 trials done" in text
        assert f"): {LINE}.\n" in text
        assert "Continue with" not in text
        assert json.loads(chronograd("status", ".", "--json")[1])["preparation"]["doing"] == LINE
    assert "Continue with: chronograd resume" in chronograd("status", ".")[1]


def test_a_process_that_died_prepares_nothing(chronograd, tmp_path):
    (tmp_path / "preparing.json").write_text('{"host": "h", "pid": 1, "doing": "x"}')
    assert read_preparation(tmp_path) is None
    assert chronograd("status", ".")[0] == 2


def test_a_second_process_leaves_the_file_to_the_first(tmp_path):
    with preparing(tmp_path, lambda line: None) as announce:
        announce(LINE)
        with preparing(tmp_path, lambda line: None) as second:
            second("other")
        assert read_preparation(tmp_path).doing == LINE


def test_watch_waits_for_the_plan(chronograd, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.cli.status.REFRESH_SECONDS", 0.01)
    ready, seen = threading.Event(), threading.Event()
    monkeypatch.setattr("harness.cli.status.say", lambda *_, **__: seen.set())

    def prepare():
        with preparing(tmp_path / "out", lambda line: None) as announce:
            announce(LINE)
            ready.set()
            seen.wait(60)
            plan_toys("a").write(tmp_path / "out")

    thread = threading.Thread(target=prepare)
    thread.start()
    ready.wait(60)
    code, text, _ = chronograd("status", "out", "--watch")
    thread.join()
    assert (code, "0 of 1 trials done" in text) == (0, True)


def test_a_baseline_that_is_timed_is_mentioned(chronograd, tmp_path, monkeypatch):
    seen = []

    def time_baseline(executor, spec):
        seen.append(read_preparation(tmp_path / "out").doing)
        return {"": 1e-3}

    monkeypatch.setattr("harness.executors.local.LocalExecutor.time_baseline", time_baseline)
    place = ("--max-steps", "1", "--out", "out", "-w", "digits")
    assert chronograd("run", write_submission(tmp_path, "pass", "mine"), *place)[0] == 0
    assert seen == ["timing the baseline: digits (1 of 1)"]
