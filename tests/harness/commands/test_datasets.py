"""Downloads from a real HTTP server on loopback that cuts off, fails and sends wrong data."""

import functools
import gzip
import hashlib
import io
import json
import random
import shutil
import ssl
import tarfile
import threading
import zipfile
from collections import namedtuple

import pytest

from harness.commands.datasets import transfer
from harness.commands.datasets.download import download
from harness.commands.datasets.folder import DataFolder
from harness.commands.datasets.plan import make_plan
from harness.commands.datasets.source import read
from harness.spec import DataError
from tests.fixtures.serving import described, serving, write_dataset

CONTENT = random.Random(0).randbytes(50_000)


class Silent:
    """Counts what it is notified of."""

    def __init__(self):
        self.seen, self.complete = [], []

    def transferred(self, file, done):
        self.seen.append(done)

    def unpacking(self, file):
        pass

    def finished(self, file):
        self.complete.append(file.name)


@pytest.fixture
def server():
    with serving() as running:
        running.files["/data.bin"] = CONTENT
        yield running


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "_LONGEST_PAUSE", 0.0)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def plan_of(tmp_path, *files, **facts):
    path = write_dataset(tmp_path / "source.toml", list(files), **facts)
    return make_plan(read(path), tmp_path / "data")


def fetch(tmp_path, *files, **facts):
    return download(plan_of(tmp_path, *files, **facts), 2, Silent())


def one(server, **facts):
    """The description of data.bin; None removes a fact."""
    file = described("data.bin", CONTENT, server.url) | facts
    return {name: value for name, value in file.items() if value is not None}


def got(tmp_path):
    return (tmp_path / "data/data.bin").read_bytes()


def test_a_file_arrives_and_is_recorded_with_its_checksum(server, tmp_path):
    watcher = Silent()
    plan = plan_of(tmp_path, one(server, sha256=None))
    assert download(plan, 1, watcher) == []
    assert got(tmp_path) == CONTENT
    assert watcher.seen == sorted(watcher.seen)
    assert (watcher.seen[-1], watcher.complete) == (len(CONTENT), ["data.bin"])
    record = json.loads((tmp_path / "data/downloads/data.bin.json").read_text())
    assert record["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert record["verified"] is False
    again = plan_of(tmp_path, one(server, sha256=None))
    assert again.is_done
    assert download(again, 1, watcher) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("tags", [True, False])
def test_it_resumes_wherever_it_was_cut_off(server, tmp_path, tags):
    server.tags = tags  # without them, the checksum tells whether the rest fits
    places = [1, 4095, 4096, 4097, 20_000, 49_998]
    starts = [0, *places]
    server.script = [("cut", end - start) for start, end in zip(starts, places, strict=False)]
    assert fetch(tmp_path, one(server)) == []
    assert got(tmp_path) == CONTENT
    assert [asked for _, asked in server.requests] == [None, *(f"bytes={n}-" for n in places)]


def test_a_later_process_resumes(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "RETRIES", 1)
    for cut in (7_000, 13_000):
        server.script = [("cut", cut)]
        (fault,) = fetch(tmp_path, one(server))
        assert "run the command again to resume" in fault
    assert fetch(tmp_path, one(server)) == []
    assert got(tmp_path) == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=7000-", "bytes=20000-"]


@pytest.mark.parametrize("change", ["ranges", "nothing certain", "other version"])
def test_it_starts_over_where_the_rest_may_not_fit(server, tmp_path, monkeypatch, change):
    monkeypatch.setattr(transfer, "RETRIES", 1)
    facts = {"sha256": None} if change != "ranges" else {}
    server.tags = change != "nothing certain"
    server.script = [("cut", 7_000)]
    assert fetch(tmp_path, one(server, **facts))
    wanted = CONTENT
    if change == "ranges":
        server.ranges = False
    elif change == "other version":
        wanted = server.files["/data.bin"] = CONTENT[::-1]
    assert fetch(tmp_path, one(server, **facts)) == []
    assert got(tmp_path) == wanted


def test_a_part_that_was_damaged_on_disk_is_fetched_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "RETRIES", 1)
    server.script = [("cut", 7_000)]
    fetch(tmp_path, one(server))
    part = tmp_path / "data/downloads/data.bin.part"
    part.write_bytes(bytes(7_000))
    assert fetch(tmp_path, one(server)) == []
    assert got(tmp_path) == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=7000-", None]


def test_pieces_are_verified_as_they_arrive(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "RETRIES", 2)
    size = 16_384
    pieces = [CONTENT[start : start + size] for start in range(0, len(CONTENT), size)]
    sums = [hashlib.sha256(piece).hexdigest() for piece in pieces]
    file = one(server, sha256=None, piece_bytes=size, piece_sha256=sums)
    damaged = bytearray(CONTENT)
    damaged[40_000] ^= 1
    server.files["/data.bin"] = bytes(damaged)
    (fault,) = fetch(tmp_path, file)
    assert "bytes 32,768 to 49,152 do not have their checksum" in fault
    assert (tmp_path / "data/downloads/data.bin.part").read_bytes() == CONTENT[:32_768]
    server.files["/data.bin"] = CONTENT
    server.tags = False
    assert fetch(tmp_path, file) == []
    assert got(tmp_path) == CONTENT


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"bytes": 49_999}, "has 50,000 bytes, 49,999 were expected"),
        ({"sha256": "0" * 64}, "has the SHA-256"),
        ({"sha256": None, "md5": "0" * 32}, "has the MD5"),
    ],
)
def test_a_source_that_changed_is_one_line_and_nothing_is_put_in_place(
    server, tmp_path, facts, said
):
    (fault,) = fetch(tmp_path, one(server, **facts))
    assert said in fault
    assert "the source has changed" in fault
    assert "\n" not in fault
    assert not (tmp_path / "data/data.bin").exists()


def test_a_file_that_is_there_is_not_overwritten(server, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/data.bin").write_bytes(b"mine")
    (fault,) = fetch(tmp_path, one(server))
    assert "has 4 bytes, 50,000 were expected" in fault
    assert got(tmp_path) == b"mine"
    (tmp_path / "data/data.bin").write_bytes(CONTENT)  # what --data-dir had before is used
    assert fetch(tmp_path, one(server)) == []
    assert server.requests == []


def test_the_checksum_that_the_source_sends_is_compared(server, tmp_path):
    server.script = [("headers", {"X-Linked-ETag": f'"{"1" * 64}"'})]
    (fault,) = fetch(tmp_path, one(server, sha256=None))
    assert f"not {'1' * 64}" in fault
    server.script = [("headers", {"X-Linked-ETag": f'"{"1" * 64}"'})]
    (fault,) = fetch(tmp_path, one(server))
    assert "the source has changed" in fault


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_answer_that_will_not_change_is_not_asked_again(server, tmp_path, status):
    server.script = [status] * 3
    (fault,) = fetch(tmp_path, one(server))
    assert f"answered {status}" in fault
    assert "\n" not in fault
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_that_may_change_is_asked_again(server, tmp_path, status):
    server.script = [status, status, ("cut", 9_000), status]
    assert fetch(tmp_path, one(server)) == []
    assert got(tmp_path) == CONTENT
    assert len(server.requests) == 5


def test_it_gives_up_after_attempts_that_bring_nothing(server, tmp_path):
    server.script = [500] * 99
    (fault,) = fetch(tmp_path, one(server))
    assert "answered 500" in fault
    assert len(server.requests) == transfer.RETRIES


def test_a_server_that_cannot_be_reached_is_a_line(tmp_path, server):
    (fault,) = fetch(tmp_path, one(server, url="http://127.0.0.1:9/data.bin"))
    assert "ConnectError" in fault
    (fault,) = fetch(tmp_path, one(server, url="gopher://127.0.0.1/data.bin"))
    assert "data.bin" in fault


def test_pauses_grow_and_follow_the_server(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_LONGEST_PAUSE", 60.0)
    monkeypatch.setattr(transfer.random, "random", lambda: 1.0)
    waited = []

    class Event(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)

    shared = functools.partial(transfer.Transfers, stopped=Event())
    monkeypatch.setattr("harness.commands.datasets.download.Transfers", shared)
    server.script = [503, 503, 503]
    assert fetch(tmp_path, one(server)) == []
    assert waited == [2.0, 4.0, 8.0]


def test_redirects_are_followed_but_not_out_of_encryption(server, tmp_path):
    server.script = [("to", f"{server.url}/data.bin")]
    assert fetch(tmp_path, one(server, url=f"{server.url}/elsewhere")) == []
    assert got(tmp_path) == CONTENT
    server.script = [("to", f"{server.url}/loop")] * 99
    (tmp_path / "b").mkdir()
    (fault,) = fetch(tmp_path / "b", one(server))
    assert "redirect" in fault.lower()


@pytest.fixture
def authority():
    trustme = pytest.importorskip("trustme")
    return trustme.CA()


def test_https_verifies_the_certificate(server, tmp_path, authority, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(context) as secure:
        secure.files["/data.bin"] = CONTENT
        (fault,) = fetch(tmp_path, one(secure))
        assert "certificate is not accepted" in fault
        pem = tmp_path / "authority.pem"
        authority.cert_pem.write_to_path(str(pem))
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert fetch(tmp_path, one(secure)) == []
        assert got(tmp_path) == CONTENT
        secure.script = [("to", f"{server.url}/data.bin")]
        (tmp_path / "b").mkdir()
        (fault,) = fetch(tmp_path / "b", one(secure, sha256=None))
        assert "which is not encrypted" in fault


def test_the_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    assert fetch(tmp_path, one(server, url="http://nowhere.invalid/data.bin")) == []
    assert got(tmp_path) == CONTENT
    monkeypatch.setenv("NO_PROXY", "nowhere.invalid")
    (tmp_path / "b").mkdir()
    assert fetch(tmp_path / "b", one(server, url="http://nowhere.invalid/data.bin"))


def test_a_slow_source_is_waited_for(server, tmp_path):
    server.pause = 0.02
    assert fetch(tmp_path, one(server)) == []


def test_an_interruption_keeps_what_is_there(server, tmp_path):
    plan = plan_of(tmp_path, one(server))

    class Impatient(Silent):
        def transferred(self, file, done):
            if done:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(plan, 1, Impatient())
    assert (tmp_path / "data/downloads/data.bin.part").stat().st_size > 0
    assert fetch(tmp_path, one(server)) == []
    assert got(tmp_path) == CONTENT


def test_one_download_at_a_time(server, tmp_path):
    plan = plan_of(tmp_path, one(server))
    with plan.folder.locked(), pytest.raises(DataError, match="another download is running"):
        download(plan, 1, Silent())


def test_several_files_and_a_number(server, tmp_path):
    server.files |= {f"/shard_{n:03}.bin": bytes([n]) * 1000 for n in range(3, 12)}
    file = {
        "name": "shard_{number}.bin", "url": f"{server.url}/shard_{{number}}.bin", "digits": 3,
        "numbers": [3, 11], "bytes": 1000, "to": "train",
    }  # fmt: skip
    server.script = [500, ("cut", 10), ("cut", 20)]
    assert fetch(tmp_path, file, one(server)) == []
    assert (tmp_path / "data/train/shard_011.bin").read_bytes() == bytes([11]) * 1000
    assert len(list((tmp_path / "data/train").iterdir())) == 9


def test_it_is_refused_when_it_does_not_fit(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    file = one(server, unpack={"files": 1, "bytes": 100_000})
    for free, fits in ((149_999, False), (150_000, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(0, 0, free))
        plan = plan_of(tmp_path, file)
        assert (plan.transfer_bytes, plan.needed_bytes) == (50_000, 150_000)
        if fits:
            plan.check()
        else:
            with pytest.raises(DataError, match="150,000 bytes of disk space are needed, 149,999"):
                plan.check()


def test_archives_of_a_person_are_verified_and_used_where_they_are(tmp_path):
    (tmp_path / "mine").mkdir()
    archive = tmp_path / "mine/all.tar"
    archive.write_bytes(tar_of({"a/x.txt": b"x"}))
    content = archive.read_bytes()
    file = described("all.tar", content, "") | {"unpack": {"files": 1, "bytes": 9}}
    del file["url"]
    path = write_dataset(tmp_path / "s.toml", [file], obtain="Ask for it")
    data = tmp_path / "data"
    with pytest.raises(DataError, match=r"all.tar: not found in .*data. Ask for it; then pass"):
        make_plan(read(path), data).check()
    plan = make_plan(read(path), data, tmp_path / "mine")
    assert plan.transfer_bytes == 0
    assert download(plan, 1, Silent()) == []
    assert (data / "a/x.txt").read_bytes() == b"x"
    assert archive.is_file()
    archive.write_bytes(content[:-1])
    shutil.rmtree(data)
    (fault,) = download(make_plan(read(path), data, tmp_path / "mine"), 1, Silent())
    assert "download it again" in fault


def test_a_mailed_address_is_taken_out_of_its_command(server, tmp_path):
    file = one(server)
    del file["url"]
    path = write_dataset(tmp_path / "s.toml", [file], obtain="Ask for it")
    mailed = f'curl -C - "{server.url}/data.bin?Signature=a%2Fb&Expires=1" --output data.bin'
    plan = make_plan(read(path), tmp_path / "data", urls=[mailed])
    assert plan.steps[0].url == f"{server.url}/data.bin?Signature=a%2Fb&Expires=1"
    for wrong in (f"{server.url}/other.bin", "data.bin"):
        with pytest.raises(DataError, match="must be one address"):
            make_plan(read(path), tmp_path / "data", urls=[wrong])


def tar_of(members, mode="w"):
    """A tar archive; a member's content may be a TarInfo in its place."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return stream.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, (content, kind) in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = kind << 16
            opened.writestr(info, content)
    return stream.getvalue()


HUGE_HEADER = tarfile.TarInfo("x")
HUGE_HEADER.pax_headers = {"comment": "0" * 3_000_000}
HOSTILE = {
    "parent.tar": (tar_of({"../x": b"1"}), "leads out"),
    "deep.tar": (tar_of({"a/../../x": b"1"}), "leads out"),
    "absolute.tar": (tar_of({"/tmp/chronograd-x": b"1"}), "leads out"),
    "symlink.tar": (tar_of({"l": special("l", tarfile.SYMTYPE, "/etc")}), "link or a device"),
    "through.tar": (
        tar_of({"l": special("l", tarfile.SYMTYPE, "/tmp"), "l/x": b"1"}), "link or a device",
    ),
    "hardlink.tar": (tar_of({"h": special("h", tarfile.LNKTYPE, "/etc/passwd")}), "link or"),
    "device.tar": (tar_of({"d": special("d", tarfile.CHRTYPE)}), "link or a device"),
    "pipe.tar": (tar_of({"f": special("f", tarfile.FIFOTYPE)}), "link or a device"),
    "bomb.tar.gz": (tar_of({"x": bytes(2_000_000)}, "w:gz"), "more than 1,000 bytes"),
    "bomb.tar.xz": (tar_of({"x": bytes(2_000_000)}, "w:xz"), "more than 1,000 bytes"),
    "many.tar": (tar_of({f"x{n}": b"" for n in range(9)}), "more than the expected 3 files"),
    "twice.zip": (zip_of({"a": (b"1", 0), "./a": (b"2", 0)}), "twice"),
    "header.tar": (tar_of({"x": HUGE_HEADER}), "header"),
    "none.tar": (tar_of({}), "has none of"),
    "parent.zip": (zip_of({"../x": (b"1", 0)}), "leads out"),
    "symlink.zip": (zip_of({"l": (b"/etc", 0o120777)}), "link or a device"),
    "bomb.zip": (zip_of({"x": (bytes(2_000_000), 0)}), "more than 1,000 bytes"),
    "damaged.zip": (b"PK\3\4 no zip", "damaged"),
    "damaged.tar.gz": (tar_of({"x": CONTENT[:900]}, "w:gz")[:-300], "damaged"),
    "damaged.tar": (b"no tar" * 999, "damaged"),
    "bomb.gz": (gzip.compress(bytes(2_000_000)), "more than 1,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_unpacking_stays_inside_and_within_bounds(server, tmp_path, name):
    content, said = HOSTILE[name]
    server.files[f"/{name}"] = content
    file = described(name, content, server.url, unpack={"files": 3, "bytes": 1000})
    (fault,) = fetch(tmp_path, file)
    assert said in fault
    left = {path.name for path in (tmp_path / "data").rglob("*")}
    assert left == {"downloads", ".lock", name, f"{name}.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"source.toml", "data"}


def test_a_bomb_within_an_archive_within_an_archive(server, tmp_path):
    inner = tar_of({"x": bytes(2_000_000)})
    server.files["/train.tar.gz"] = content = tar_of({"n1.tar": inner}, "w:gz")
    rules = {"files": 3, "bytes": 1000, "nested": True}
    (fault,) = fetch(tmp_path, described("train.tar.gz", content, server.url, unpack=rules))
    assert "more than 1,000 bytes" in fault
    for number, name in enumerate(("../x", "a/x", "/x")):
        outer, inner = f"train_{number}.tar", tar_of({name: b"1"})
        content = server.files[f"/{outer}"] = tar_of({"n1.tar": inner})
        (fault,) = fetch(tmp_path, described(outer, content, server.url, unpack=rules))
        assert "leads out" in fault


def test_unpacked_files_overwrite_nothing_and_an_interrupted_placing_is_repeated(server, tmp_path):
    content = tar_of({"a/x": b"new", "a/y": b"y"})
    server.files["/all.tar"] = content
    file = described("all.tar", content, server.url, unpack={"files": 3, "bytes": 1000})
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/x").write_bytes(b"old")
    (fault,) = fetch(tmp_path, file)
    assert "a/x: is there already and differs" in fault
    assert (tmp_path / "data/a/x").read_bytes() == b"old"
    (tmp_path / "data/a/x").write_bytes(b"new")  # as if the first placing had been interrupted
    assert fetch(tmp_path, file) == []
    assert (tmp_path / "data/a/y").read_bytes() == b"y"
    assert not (tmp_path / "data/downloads/all.tar").exists()
    assert fetch(tmp_path, file) == []
    (tmp_path / "data/a/y").unlink()  # what was removed is fetched again
    assert fetch(tmp_path, file) == []
    assert (tmp_path / "data/a/y").read_bytes() == b"y"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../x"}, "must be the name of a file"),
        ({"to": "../x"}, "below the data directory"),
        ({"to": "/x"}, "below the data directory"),
        ({"unpack": {"files": 1, "bytes": 1, "into": "a/../.."}}, "below the data directory"),
        ({"bytes": None}, "give bytes"),
        ({"sha256": "x"}, "sha256"),
        ({"url": None}, "has no url"),
        ({"unknown": 1}, "unknown"),
        ({"piece_bytes": 10, "piece_sha256": ["0" * 64]}, "checksums of"),
        ({"only_for": "y"}, "which is not a file of this dataset"),
        ({"numbers": [0, 10**9]}, "more than 10,000 files"),
    ],
)
def test_a_wrong_description_is_one_line(tmp_path, server, change, said):
    path = write_dataset(tmp_path / "s.toml", [one(server, **change)])
    with pytest.raises(DataError, match=said) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_the_folder_of_a_damaged_record_is_not_complete(tmp_path):
    folder = DataFolder(tmp_path)
    file = read(
        write_dataset(tmp_path / "s.toml", [described("a.tar", b"x", "http://x")])
    ).files[0]  # fmt: skip
    for text in ("", "[]", '{"unpacked": 1}', '{"bytes": "x"}'):
        folder.downloads.mkdir(exist_ok=True)
        (folder.downloads / "a.tar.json").write_text(text)
        assert not folder.is_done(file)
