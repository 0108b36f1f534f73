"""The ledger: append-only, one driver at a time, robust against half a line."""

import json
import subprocess
import sys

import pytest

from harness import ledger
from harness.ledger import Ledger, LedgerError


def test_events_come_back_in_order_with_their_sequence(tmp_path):
    with Ledger(tmp_path) as book:
        book.append("row", trial="a", value=float("nan"))
    with Ledger(tmp_path) as book:
        book.append("row", trial="b", value=1.5)
    events = ledger.read(tmp_path)
    assert [event["sequence"] for event in events] == [0, 1, 2, 3]
    assert [event["event"] for event in events] == ["driver_started", "row"] * 2
    assert (events[1]["value"], events[3]["value"]) == ("nan", 1.5)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_truncated_last_line_is_dropped_and_written_over(tmp_path, cut):
    with Ledger(tmp_path) as book:
        book.append("row", trial="a" * 50)
        book.append("row", trial="b" * 50)
    path = tmp_path / ledger.FILE
    path.write_bytes(path.read_bytes()[:-cut])
    assert [event["sequence"] for event in ledger.read(tmp_path)] == [0, 1]
    with Ledger(tmp_path):
        pass
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["sequence"] for event in events] == [0, 1, 2]


def test_damage_in_the_middle_is_named(tmp_path):
    (tmp_path / ledger.FILE).write_text('{"sequence": 0}\n{"seq\n{"sequence": 2}\n')
    with pytest.raises(LedgerError, match="line 2: damaged"):
        ledger.read(tmp_path)


def test_a_second_driver_is_refused_and_told_of_the_first(tmp_path):
    with Ledger(tmp_path):
        code = "import sys; from pathlib import Path; from harness.ledger import Ledger;"
        code += f"Ledger(Path({str(tmp_path)!r}))"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert other.returncode != 0
    assert "another driver (process" in other.stderr


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="choose another --out"):
        Ledger(tmp_path / "file")


def test_no_ledger_is_no_event(tmp_path):
    assert ledger.read(tmp_path) == []
