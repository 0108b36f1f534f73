"""Folders of code, checkpoints and data that other users could write to are refused."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from harness.environment import scratch
from harness.submission import loading, shipping
from scoring.files import private_folder
from scoring.records import UserError
from tests.fixtures.toy import make_spec
from tests.harness.submission.test_loading import write
from workloads.prepared import cache_folder


def of_another_user(folder, monkeypatch):
    folder.mkdir(parents=True)
    found = os.lstat(folder)
    theirs = os.stat_result([*found[:4], found.st_uid + 1, *found[5:]])
    monkeypatch.setattr(Path, "lstat", lambda path: theirs if path == folder else os.lstat(path))
    return "belongs to another user"


def a_link(folder, _):
    folder.parent.mkdir(parents=True, exist_ok=True)
    target = folder.parent / "theirs"
    target.mkdir()
    folder.symlink_to(target)
    return "is a symbolic link"


def a_file(folder, _):
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()
    return "File exists"


@pytest.mark.parametrize("plant", [of_another_user, a_link, a_file])
def test_a_temporary_folder_that_is_somebody_elses_is_refused(tmp_path, monkeypatch, plant):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    why = plant(tmp_path / f"chronograd-{os.geteuid()}", monkeypatch)
    with pytest.raises(UserError, match=f"{why}.*set TMPDIR") as refused:
        scratch()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("plant", [of_another_user, a_link, a_file])
def test_a_cache_that_is_somebody_elses_is_refused(tmp_path, monkeypatch, plant):
    monkeypatch.delenv("CHRONOGRAD_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    why = plant(tmp_path / ".cache" / "chronograd", monkeypatch)
    with pytest.raises(UserError, match=f"{why}.*set CHRONOGRAD_CACHE"):
        cache_folder()


def test_a_new_folder_is_private(tmp_path):
    folder = private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("planted", ["changed", "more", "less", "file"])
def test_existing_code_must_be_the_code_that_was_sent(tmp_path, monkeypatch, planted):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folder = write(tmp_path / "mine")
    code, spec = shipping.pack(folder), make_spec(submission_path=str(folder))
    expected = loading.content_hash(folder)
    names = sorted(path.name for path in folder.iterdir())
    folder.rename(tmp_path / "away")
    place = Path(shipping.unpack(spec, code).submission_path)
    first = place.stat().st_ino
    assert Path(shipping.unpack(spec, code).submission_path).stat().st_ino == first
    if planted == "changed":
        (place / "submission.py").write_text("raise SystemExit")
    elif planted == "more":
        (place / "torch.py").write_text("raise SystemExit")
    elif planted == "less":
        (place / "submission.py").unlink()
    else:
        shutil.rmtree(place)
        place.touch()
    again = Path(shipping.unpack(spec, code).submission_path)
    assert again == place
    assert loading.content_hash(place) == expected
    assert sorted(path.name for path in place.iterdir()) == names
