"""The command line in this process, for the tests of the commands."""

import pytest

from harness.cli import main
from tests.fixtures.faults import RULESET


@pytest.fixture
def chronograd(monkeypatch, capsys, tmp_path):
    """Calls the command; returns exit code, stdout and stderr."""
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
