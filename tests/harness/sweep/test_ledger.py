"""The ledger: append-only, one driver at a time, robust against damaged lines."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

from harness.sweep import ledger
from harness.sweep.events import Evaluated, Pruned
from harness.sweep.ledger import Ledger, LedgerError
from harness.sweep.preparation import preparing
from harness.sweep.run import run_sweep
from scoring.tree import LEDGER_FILE
from tests.fixtures.sweeps import Quiet, Script, make_row, plan_toys


@dataclass
class Note:
    """An event that this version does not know."""

    kind = "note"
    trial: str = ""
    value: object = None


def note(book, **data):
    book.append(Note(**data))


def test_events_are_read_in_order_with_their_sequence_numbers(tmp_path):
    with Ledger(tmp_path) as book:
        note(book, trial="a", value=float("nan"))
    with Ledger(tmp_path) as book:
        note(book, trial="b", value=1.5)
    events = ledger.read(tmp_path)
    assert [event["sequence"] for event in events] == [0, 1, 2, 3]
    assert [event["event"] for event in events] == ["driver_started", "note"] * 2
    assert (events[1]["value"], events[3]["value"]) == ("nan", 1.5)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_truncated_last_line_is_dropped_and_overwritten(tmp_path, cut):
    with Ledger(tmp_path) as book:
        note(book, trial="a" * 50)
        note(book, trial="b" * 50)
    path = tmp_path / LEDGER_FILE
    path.write_bytes(path.read_bytes()[:-cut])
    assert [event["sequence"] for event in ledger.read(tmp_path)] == [0, 1]
    with Ledger(tmp_path):
        pass
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["sequence"] for event in events] == [0, 1, 2]


DAMAGE = {
    "zeroed": lambda line: b"\0" * (len(line) - 1) + b"\n",
    "cut": lambda line: line[:9] + b"\n",
    "empty": lambda line: b"\n",
    "a changed key": lambda line: line.replace(b'"event"', b'"evenu"'),
    "a changed value": lambda line: line.replace(b'"value": 1.5', b'"value": 1.6'),
    "a changed sum": lambda line: line[:12] + b"xy" + line[14:],
    "not UTF-8": lambda line: b"\xff" + line,
    "a number": lambda line: b"3\n",
    "a list": lambda line: b"[{}]\n",
    "null": lambda line: b"null\n",
    "deep": lambda line: b"[" * 100_000 + b"\n",
    "no trial": lambda line: line.replace(b'"note"', b'"row"'),
    "a strange sequence": lambda line: line.replace(b'"sequence": 1', b'"sequence": "1"'),
    "a huge number": lambda line: line.replace(b'"time": ', b'"time": ' + b"9" * 400),
}


def without_sums(path):
    """Converts a ledger to that of an earlier version."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["crc32"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_line_is_skipped_and_the_ledger_set_aside(tmp_path, damage, old):
    with Ledger(tmp_path) as book:
        note(book, value=1.5)
        note(book, value=1.5)
    path = tmp_path / LEDGER_FILE
    if old:
        if damage in ("a changed value", "a changed sum"):
            return  # an earlier version cannot detect it
        without_sums(path)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + DAMAGE[damage](second) + third)
    before = path.read_bytes()
    reader = ledger.Reader(tmp_path)
    assert [event["sequence"] for event in reader.new_records()] == [0, 2]
    assert reader.damaged == [2]
    with Ledger(tmp_path) as book:
        assert "was damaged (invalid lines: 1, the first is line 2)" in book.notice
        assert "ledger.damaged-1.jsonl" in book.notice
    assert (tmp_path / "ledger.damaged-1.jsonl").read_bytes() == before
    assert [event["sequence"] for event in ledger.read(tmp_path)] == [0, 2, 3]
    with Ledger(tmp_path) as book:
        assert book.notice == ""


def test_any_changed_byte_is_detected(tmp_path):
    """Also if the line is still a valid event."""
    with Ledger(tmp_path) as book:
        note(book, trial="a", value=[1.25, "text"])
        note(book)
    path = tmp_path / LEDGER_FILE
    complete = path.read_bytes()
    first = complete.index(b"\n") + 1
    last = complete.index(b"\n", first)
    for place in range(first, last):
        for bit in (0, 1, 4):
            changed = complete[place] ^ (1 << bit)
            path.write_bytes(complete[:place] + bytes([changed]) + complete[place + 1 :])
            reader = ledger.Reader(tmp_path)
            assert [event["sequence"] for event in reader.new_records()] == [0, 2], (place, bit)
            assert reader.damaged[0] == 2


def test_a_ledger_of_an_earlier_version_is_continued(tmp_path):
    with Ledger(tmp_path) as book:
        note(book, value=1.5)
    without_sums(tmp_path / LEDGER_FILE)
    with Ledger(tmp_path) as book:
        note(book, value=2.5)
        assert book.notice == ""
    assert [event["sequence"] for event in ledger.read(tmp_path)] == [0, 1, 2, 3]
    lines = (tmp_path / LEDGER_FILE).read_text().splitlines()
    assert ["crc32" in json.loads(line) for line in lines] == [False, False, True, True]


def test_lines_of_other_kinds_are_checked_but_not_parsed(tmp_path, monkeypatch):
    name = "a/study_0/w/trial_1"
    with Ledger(tmp_path) as book:
        for second in range(100):
            book.append(Evaluated(trial=name, attempt=1, row=make_row(second)))
        book.append(Pruned(trial=name, attempt=1))
        book.append(Evaluated(trial=name, attempt=1, row=make_row(100)))
    parsed = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda line: parsed.append(line) or loads(line))
    kinds = [event["event"] for event in ledger.Reader(tmp_path).new_records(kinds=["pruned"])]
    assert (kinds, len(parsed)) == (["pruned"], 1)
    events = list(ledger.Reader(tmp_path).new_records(latest=["row"]))
    assert [event["sequence"] for event in events] == [0, 100, 101, 102]
    path = tmp_path / LEDGER_FILE
    path.write_bytes(path.read_bytes().replace(b'"global_step": 7,', b'"global_step": 8,'))
    reader = ledger.Reader(tmp_path)
    assert [event["event"] for event in reader.new_records(kinds=["pruned"])] == ["pruned"]
    assert reader.damaged == [9]


def test_an_incomplete_line_of_any_length_is_dropped(tmp_path):
    with Ledger(tmp_path) as book:
        note(book)
    path = tmp_path / LEDGER_FILE
    complete = path.read_bytes()
    for more in (1, 2**16 - 1, 2**16, 2**16 + 1, 300_000):
        path.write_bytes(complete + b"x" * more)
        with Ledger(tmp_path) as book:
            assert path.read_bytes().startswith(complete + b'{"crc32"')
            assert book.notice == ""
    path.write_bytes(b"x" * 100_000)
    with Ledger(tmp_path):
        assert [event["sequence"] for event in ledger.read(tmp_path)] == [0]


def test_repeated_events_are_read_once(tmp_path):
    with Ledger(tmp_path) as book:
        note(book)
    path = tmp_path / LEDGER_FILE
    path.write_bytes(2 * path.read_bytes())
    assert [event["sequence"] for event in ledger.read(tmp_path)] == [0, 1]
    with Ledger(tmp_path) as book:
        assert "repeated events: 2" in book.notice


def test_a_copied_tree_gets_its_own_id(tmp_path):
    with Ledger(tmp_path / "a") as book:
        tree = book.tree
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with Ledger(tmp_path / "b") as copy, Ledger(tmp_path / "a") as book:
        assert (book.tree, copy.tree == tree) == (tree, False)
        moved = copy.tree
    with Ledger(tmp_path / "b") as copy:
        assert copy.tree == moved


def test_a_second_driver_is_refused_with_a_message_about_the_first(tmp_path):
    with Ledger(tmp_path):
        code = "import sys; from pathlib import Path; from harness.sweep.ledger import Ledger;"
        code += f"Ledger(Path({str(tmp_path)!r}))"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert other.returncode != 0
    assert "another driver (process" in other.stderr


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="choose another --out"):
        Ledger(tmp_path / "file")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_a_regular_file_is_a_ledger(tmp_path, kind):
    """A pipe is not waited for, and a device without end not read."""
    path = tmp_path / LEDGER_FILE
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    for use in (ledger.read, Ledger):
        with pytest.raises(LedgerError, match=f"{LEDGER_FILE}"):
            use(tmp_path)
    assert not ledger.is_held(tmp_path)


def test_nothing_is_written_through_a_link(tmp_path):
    """The tree may be somebody else's, and the link lead to any file of this user."""
    (tmp_path / "mine").write_text("a line\nwithout an end")
    for name in (LEDGER_FILE, "preparing.json", "running/a/study_0/toy/trial_1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(tmp_path / "mine")
    with pytest.raises(LedgerError, match="is a symbolic link, through which nothing is written"):
        Ledger(tmp_path)
    with preparing(tmp_path, lambda line: None) as announce:
        announce("a line")
    (tmp_path / LEDGER_FILE).unlink()
    printing = Script(lambda driver, spec: (driver.started(spec, {}), driver.printed(spec, "x")))
    run_sweep(plan_toys("a"), tmp_path, printing, Quiet())
    assert (tmp_path / "mine").read_text() == "a line\nwithout an end"


def test_a_line_without_end_takes_no_memory(tmp_path, monkeypatch):
    """Of a sparse file, for example; the events before and after it are read."""
    monkeypatch.setattr("harness.sweep.ledger_lines.MOST_BYTES", 1000)
    with Ledger(tmp_path) as book:
        note(book)
    path = tmp_path / LEDGER_FILE
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + bytes(10_500) + b"\n" + second)
    reader = ledger.Reader(tmp_path)
    assert [event["sequence"] for event in reader.new_records()] == [0, 1]
    assert reader.damaged == [2] * 11
    path.write_bytes(first + bytes(10_500))
    assert len(ledger.read(tmp_path)) == 1
    with Ledger(tmp_path):
        pass
    assert len(ledger.read(tmp_path)) == 2


def test_a_missing_ledger_has_no_events(tmp_path):
    assert ledger.read(tmp_path) == []


def test_a_reader_yields_each_event_once_and_a_line_when_it_is_complete(tmp_path):
    reader = ledger.Reader(tmp_path)
    assert list(reader.new_records()) == []
    with Ledger(tmp_path) as book:
        note(book, trial="a")
        assert [event["event"] for event in reader.new_records()] == ["driver_started", "note"]
        path = tmp_path / LEDGER_FILE
        with path.open("r+b") as file:  # what was read before is not read again
            file.write(b"damaged")
        with path.open("ab") as file:
            file.write(b'{"sequence": 2, "ev')
            file.flush()
            assert list(reader.new_records()) == []
            file.write(b'ent": "note", "time": 1.0}\n')
        assert [event["sequence"] for event in reader.new_records()] == [2]
        assert list(reader.new_records()) == []


def test_checking_for_a_driver_does_not_disturb_it(tmp_path):
    assert not ledger.is_held(tmp_path)
    with Ledger(tmp_path) as book:
        assert [ledger.is_held(tmp_path) for _ in range(3)] == [True] * 3
        note(book, trial="a")
        with pytest.raises(LedgerError, match="is in use by another driver"):
            Ledger(tmp_path)
    assert not ledger.is_held(tmp_path)
    with Ledger(tmp_path):
        pass


def test_checking_for_a_driver_does_not_prevent_one_from_starting(tmp_path, monkeypatch):
    with Ledger(tmp_path):
        pass
    asking = (tmp_path / LEDGER_FILE).open("rb")
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(ledger.timers, "sleep", lambda _: asking.close())
    with Ledger(tmp_path):
        assert asking.closed
