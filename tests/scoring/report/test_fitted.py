"""Tables in terminals of every width: no name is broken, and omissions are reported."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from scoring.compare import compare
from scoring.report.fitted import Column, FittedTable
from scoring.report.terminal import comparison_table, format_number, standings_table, times_table
from scoring.times import RULES
from tests.scoring.boards import make_board, make_results, one_trial, single

SUBMISSIONS = [f"{kind}_submission_{n}" for kind in ("shampoo", "schedule_free") for n in range(4)]
WORKLOADS = [f"librispeech_{kind}_mini" for kind in "abcdefgh"]
TIMES = {
    (s, w): 10.0 + (i + 1) * (j + 1) / 7
    for i, s in enumerate(SUBMISSIONS)
    for j, w in enumerate(WORKLOADS)
}


def drawn(table, width):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    lines = capture.get().splitlines()
    assert all(len(line) <= width for line in lines)
    return lines


def words(lines):
    return {word for line in lines for word in line.split()}


@pytest.fixture(scope="module")
def board():
    return make_board(single(WORKLOADS), one_trial(TIMES))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 160, 400])
def test_a_wide_board_is_split_and_keeps_every_name_and_time(board, width):
    lines = drawn(times_table(board), width)
    assert {*SUBMISSIONS, *WORKLOADS} <= words(lines)
    for name in SUBMISSIONS:
        for workload in WORKLOADS:
            seconds = format_number(TIMES[name, workload])
            assert any(seconds in word for word in words(lines)), (name, workload)
    if width == 80:  # in each of several tables
        assert sum(line.split()[:1] == ["submission"] for line in lines) > 1
        assert sum(line.split()[:1] == [SUBMISSIONS[0]] for line in lines) > 1


@pytest.mark.parametrize("width", [36, 60, 80, 200])
def test_standings_keep_names_and_scores_and_say_what_they_leave_out(board, width):
    lines = drawn(standings_table(board), width)
    assert {*SUBMISSIONS, "score"} <= words(lines)
    head = next(line.split() for line in lines if "submission" in line.split())
    assert any(line.startswith("left out") for line in lines) == ("hours" not in head)


def test_few_submissions_on_many_workloads_are_turned():
    names = SUBMISSIONS[:2]
    times = {key: seconds for key, seconds in TIMES.items() if key[0] in names}
    lines = drawn(times_table(make_board(single(WORKLOADS), one_trial(times))), 80)
    head = next(line for line in lines if "submission" in line)
    assert head.split() == ["submission", *names]
    assert [line.split()[0] for line in lines if line.split()[:1] and "librispeech" in line] == (
        WORKLOADS
    )


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_comparison_keeps_both_names(width):
    pair = dict.fromkeys([("a_rather_long_name", "v"), ("another_long_name", "v")], 2.0)
    results = make_results(single("v"), one_trial(pair))
    lines = drawn(comparison_table(compare(results, *(name for name, _ in pair), RULES)), width)
    assert {"a_rather_long_name", "another_long_name"} <= words(lines)


@pytest.mark.parametrize("command", ["submissions", "workloads"])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_listings_keep_names(chronograd, monkeypatch, command, width):
    monkeypatch.setattr("harness.cli.listings.console", Console(width=width, soft_wrap=True))
    code, out, _ = chronograd(command)
    assert code == 0
    names = {*words(chronograd(command, "--json")[1].splitlines())}
    known = {name.strip('":{') for name in names if name.endswith('":')} - {"goal"}
    found = {word for word in words(out.splitlines()) if "…" not in word}
    tops = re.findall(r'^  "([^"]+)": \{$', chronograd(command, "--json")[1], re.MULTILINE)
    assert len(tops) > 20
    assert {*tops} <= known
    assert {*tops} <= found


@settings(max_examples=60)
@given(
    st.integers(12, 120),
    st.lists(st.text("ab_", min_size=1, max_size=12), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
    st.booleans(),
)
def test_whatever_is_shown_is_complete(width, names, spares, turnable):
    columns = [Column("key"), *(Column(f"c{n}", spare=s) for n, s in enumerate(spares))]
    table = FittedTable(columns, turnable=turnable)
    for name in names:
        table.add_row(name, *(f"{name[:3]}{n}" for n in range(len(spares))))
    lines = drawn(table, width)
    assert {*names} <= words(lines)
    note = "".join(lines[next((n for n, x in enumerate(lines) if "left out" in x), len(lines)) :])
    for n in range(len(spares)):
        shown = all(f"{name[:3]}{n}" in words(lines) for name in names)
        assert shown or f"c{n}" in note.replace(" ", "")


def test_escape_sequences_in_a_name_are_shown():
    table = FittedTable([Column("a")])
    table.add_row("\x1b[2Jx\ny")
    assert any(r"\x1b[2Jx\ny" in line for line in drawn(table, 80))


@pytest.mark.parametrize("width", [24, 40])
def test_a_narrow_table_repeats_no_row_that_is_empty_there(width):
    table = FittedTable(
        [Column("check"), Column("found", prose=True), Column("advice", prose=True)]
    )
    table.add_row("memory", "plenty of it is free", "")
    table.add_row("a disk for data", "no space is left on it", "delete older results from it")
    lines = drawn(table, width)
    assert sum("memory" in line.split() for line in lines) == 1
    assert sum(line.strip().startswith("a disk for data") for line in lines) == (
        2 if width == 40 else 1
    )
    assert not any(line.strip() == "advice" for line in lines if width == 24)
