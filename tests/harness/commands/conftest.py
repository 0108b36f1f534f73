"""What tests of several commands need."""

import pytest


@pytest.fixture
def own_tmp(tmp_path, monkeypatch):
    """Weights are kept below this folder, not in the machine's temporary one."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder
