"""A submission that ends its process, or keeps it alive, still leaves one record and terminates."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fixtures.faults import RULESET, write_submission

QUICK = ("--workload", "diabetes", "--ruleset", "quick.toml", "--max-steps", "30", "--out", "out")
LEAVES = """if global_step == 3:
        import multiprocessing, threading
        threading.Thread(target=time.sleep, args=(600,)).start()
        left = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))
        left.start()
        print('left', left.pid)"""
FORKS = """if global_step == 5 and not os.fork(): os._exit(0)
    if global_step == 10 and not os.fork(): raise ValueError('the child')
    if global_step == 15: os.fork()"""


def command(folder, *arguments):
    (folder / "quick.toml").write_text(RULESET)
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", *arguments, *QUICK, "--clock", "steps"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def events(folder):
    lines = (folder / "out/ledger.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_a_submission_leaves_running_does_not_keep_the_command_alive(tmp_path):
    write_submission(tmp_path, LEAVES, "leaves")
    done = command(tmp_path, "./leaves")
    assert done.returncode == 0, done.stderr
    assert "Records in out" in done.stdout
    (left,) = re.findall(r"left (\d+)", done.stdout)
    assert not Path("/proc", left).exists()


def test_os_exit_is_a_recorded_failure_and_has_an_exit_code(chronograd, tmp_path):
    write_submission(tmp_path, "if global_step == 15: os._exit(0)", "leaves")
    real = os._exit
    code, out, _ = chronograd("run", "./leaves", *QUICK, "--clock", "steps")
    assert code == 1
    assert "failed (submission_error: ExitError: os._exit(0) was called, at submission.py:" in out
    assert os._exit is real
    ending = events(tmp_path)[-1]
    assert (ending["event"], ending["failure"]) == ("attempt_ended", "submission_error")


def test_check_reports_that_os_exit_was_called(chronograd, tmp_path):
    write_submission(tmp_path, "if global_step == 1: os._exit(0)", "leaves")
    code, out, _ = chronograd("check", "./leaves")
    assert code == 1
    assert "os._exit(0) was called" in out


def test_os_exit_at_import_is_one_line(chronograd, tmp_path):
    file = write_submission(tmp_path, "pass", "leaves") / "submission.py"
    file.write_text("import os\nos._exit(0)\n")
    code, _, err = chronograd("run", "./leaves", *QUICK)
    assert code == 2
    assert "import failed: ExitError: os._exit(0) was called" in err


def test_a_fork_that_keeps_running_records_nothing(tmp_path):
    write_submission(tmp_path, FORKS, "leaves")
    done = command(tmp_path, "./leaves")
    assert done.returncode == 0, done.stderr
    found = events(tmp_path)
    assert [event["sequence"] for event in found] == [*range(len(found))]
    assert len({event["row"]["global_step"] for event in found if event["event"] == "row"}) == sum(
        event["event"] == "row" for event in found
    )
    assert [event["event"] for event in found].count("attempt_ended") == 1
    assert done.stdout.count("Records in out") == 1
