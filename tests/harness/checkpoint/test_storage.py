"""Storages for checkpoints: a folder and a URI behave alike."""

import pytest

from harness.checkpoint.storage import StorageError, storage


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_files_are_put_listed_fetched_and_dropped(tmp_path, scheme):
    place = storage(f"{scheme}{tmp_path}/trial/rank_1")
    assert place.names() == []
    for name in ("2.pt", "1.pt"):
        file = place.staging_folder() / ".aside"
        file.write_text(name)
        place.put(file, name)
        assert not file.exists()
    assert place.names() == ["1.pt", "2.pt"]
    with place.opened("2.pt") as file:
        assert file.read() == b"2.pt"
    place.drop("1.pt")
    assert place.names() == ["2.pt"]
    place.clear(keep="2")
    assert place.names() == ["2.pt"]
    place.clear(keep="3")
    place.clear(keep="3")
    assert place.names() == []


@pytest.mark.parametrize("uri", ["nonsense://bucket/folder", "file://no.such.host/x"])
def test_an_unsupported_uri_is_refused(uri):
    with pytest.raises(StorageError, match=f"--checkpoint-dir {uri}: cannot be opened"):
        storage(uri)
