"""What every test needs: one thread, no usage statistics, an environment that does not leak."""

import os
import signal

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray spells it so
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("COLUMNS", None)  # pytest-xdist gives its processes one

import pytest
from hypothesis import settings

from harness.cli import main
from tests.fixtures.faults import RULESET

signal.signal(signal.SIGINT, signal.default_int_handler)  # the processes of pytest-xdist ignore it
settings.register_profile("chronograd", deadline=None)  # machines are noisy
settings.load_profile("chronograd")


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """Data that the project makes goes into a folder of the session, not into the user's cache.

    The processes of pytest-xdist share it: their folders are in the session's.
    """
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    os.environ["CHRONOGRAD_CACHE"] = str(shared / "cache")


@pytest.fixture(autouse=True)
def environment_is_kept():
    """Restores what a test changed in the environment, as trials do on purpose."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def chronograd(monkeypatch, capsys, tmp_path):
    """Calls the command in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.toml").write_text(RULESET)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["chronograd", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
