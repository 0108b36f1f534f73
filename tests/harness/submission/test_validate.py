"""Checking a submission's functions, which happens in a fork of the driver."""

import os
import signal
import subprocess
import sys
import time

import pytest

from harness.submission import loading
from harness.submission.loading import SubmissionError
from tests.fixtures.faults import write_submission


def with_import(parent, line):
    folder = write_submission(parent, "pass", "mine")
    file = folder / "submission.py"
    file.write_text(f"{line}\n{file.read_text()}")
    return folder


def test_what_an_import_changes_is_not_changed_here(tmp_path):
    place = with_import(
        tmp_path, "import os, torch; os.environ['MARK'] = '1'; torch.manual_seed(3)"
    )
    loading.validate(place)
    assert "MARK" not in os.environ


def test_a_process_that_an_import_leaves_running_is_not_waited_for(tmp_path):
    pid = tmp_path / "pid"
    line = (
        "import os, time; child = os.fork(); child or time.sleep(600); "
        f"open({str(pid)!r}, 'w').write(str(child))"
    )
    loading.validate(with_import(tmp_path, line))
    os.kill(int(pid.read_text()), signal.SIGKILL)  # it is still running


def test_an_import_may_use_many_elements_after_threads_were_used_here(tmp_path):
    """OpenMP's threads do not exist in a fork, which would wait for them."""
    place = with_import(tmp_path, "import torch; TABLE = torch.ones(2000, 2000).exp().sum()")
    code = (
        "import sys, torch; torch.set_num_threads(2); torch.ones(2000, 2000).exp().sum()\n"
        "from harness.submission import loading; from pathlib import Path\n"
        "loading.validate(Path(sys.argv[1])); print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(place)], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "it ended the process"),
        ("raise SystemExit(3)", "import failed: SystemExit"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_an_import_that_fails_is_the_submissions_fault(tmp_path, line, says):
    with pytest.raises(SubmissionError, match=says):
        loading.validate(with_import(tmp_path, line))


def test_an_interrupt_ends_the_fork_too(tmp_path):
    pid = tmp_path / "pid"
    line = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from harness.submission import loading; from pathlib import Path\n"
        "loading.validate(Path(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(with_import(tmp_path, line))], stderr=subprocess.DEVNULL
    )
    while not (pid.is_file() and pid.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
