"""The output of scoring in a terminal: numbers, tables, explanations and literal names."""

import pytest
from rich.console import Console

from scoring.compare import compare
from scoring.leaderboard import make_leaderboard
from scoring.reference import load_reference, save_reference
from scoring.report.explain import Reason
from scoring.report.terminal import (
    comparison_table,
    format_number,
    reason_tree,
    standings_table,
    times_table,
)
from scoring.speedup import Speedup
from scoring.times import RULES
from tests.scoring.boards import INF, NAN, make_board, make_results, one_trial, single

TIMES = {
    ("a", "v"): [2.0, 2.0, 2.0],
    ("a", "w"): [1234.5] * 3,
    ("b", "v"): [3.0, 3.0, INF],
    ("b", "w"): [INF] * 3,
    ("c", "v"): [9.0, 9.0, 9.0],
}
GENEROUS = {"metric": "loss", "direction": "min", "validation_target": 0.5, "budget_seconds": 9e9}


def example(**options):
    rules = single(studies=3, workloads=dict.fromkeys("vw", GENEROUS))
    return make_board(rules, one_trial(TIMES), **options)


def shown(renderable):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def rows_of(renderable):
    return [line.split() for line in shown(renderable).splitlines()]


@pytest.mark.parametrize("width", [24, 30, 40, 47, 60])
@pytest.mark.parametrize("table", [standings_table, times_table])
def test_names_stay_in_a_narrow_terminal(table, width):
    board = example()
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table(board))
    names = {standing.name for standing in board.standings}
    assert names <= {*capture.get().split()}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.01234, "0.0123"),
        (1.266, "1.27"),
        (-45.67, "-45.7"),
        (99.96, "100.0"),
        (1234.5, "1,234"),
        (1e-9, "1e-09"),
        (2e7, "2e+07"),
        (INF, "∞"),
        (-INF, "-∞"),
        (NAN, "–"),
    ],
)
def test_numbers_are_short(value, text):
    assert format_number(value) == text


def test_standings_show_ranks_scores_and_their_uncertainty():
    rows = rows_of(standings_table(example()))
    assert rows[0] == ["toy,", "external", "tuning,", "method", "rules"]
    assert "rank submission score 95% interval P(rank) hours" in map(" ".join, rows)
    assert ["1", "a", "1.0000", "1.000", "to", "1.000", "100%", "1.03"] in rows
    assert [row[:2] for row in rows if row[:1] in (["1"], ["2"], ["3"])] == [
        ["1", "a"],
        ["2", "b"],
        ["3", "c"],
    ]


def test_probabilities_are_in_per_cent():
    times = {("a", "w"): [1.0, 1.0, 9.0], ("b", "w"): [2.0, 2.0, 2.0]}
    rules, trials = single("w", studies=3), one_trial(times)
    share = f"{100 * make_board(rules, trials).standings[0].ranks[0]:.0f}%"
    assert share not in ("0%", "100%")
    (first,) = (row for row in rows_of(standings_table(make_board(rules, trials))) if "a" in row)
    assert first[-2] == share
    comparison = compare(make_results(rules, trials), "a", "b", RULES)
    (row,) = (row for row in rows_of(comparison_table(comparison)) if row[:1] == ["w"])
    assert row[-1] == f"{100 * comparison.workloads[0].faster:.0f}%"
    assert row[-1] not in ("0%", "100%")


def test_standings_have_columns_for_the_frozen_score_and_the_speedup(tmp_path):
    board = example()
    save_reference(tmp_path / "ref.json", board.stages, board.results.scope, RULES)
    board = example(reference=load_reference(tmp_path / "ref.json"))
    faster = {"a": Speedup(0.5, NAN), "b": Speedup(1.0, 1.0), "c": Speedup(2.0, 1.5)}
    rows = rows_of(standings_table(board, faster))
    assert "rank submission score 95% interval P(rank) frozen time ratio official hours" in map(
        " ".join, rows
    )
    (first,) = (row for row in rows if row[:2] == ["1", "a"])
    assert first[-5:] == ["100%", "1.0000", "0.5000", "–", "1.03"]


def test_times_show_marks_and_misses():
    text = shown(times_table(example()))
    rows = [line.split() for line in text.splitlines()]
    assert ["submission", "v", "w"] in rows
    assert ["a", "2.00*", "1,234*"] in rows
    assert ["b", "3.00", "2/3", "∞", "0/3"] in rows
    assert ["c", "9.00†", "∞", "0/3"] in rows  # over four times the fastest
    assert "over 4 times the fastest" in " ".join(text.split())
    assert "step clock" not in " ".join(text.split())


def test_times_on_the_step_clock_say_so():
    results = make_results(single("w"), {("a", "w", 0, 1): 1.0}, clock="steps")
    text = shown(times_table(make_leaderboard(results, resamples=5)))
    assert "seconds on the step clock" in " ".join(text.split())


def test_a_comparison_shows_infinities_and_odds():
    rules = single(studies=3, workloads=dict.fromkeys("vw", GENEROUS))
    rows = rows_of(
        comparison_table(compare(make_results(rules, one_trial(TIMES)), "a", "b", RULES))
    )
    assert ["v", "2.00", "3.00", "-1.00", "-∞", "to", "-1.00", "100%"] in rows
    assert ["w", "1,234", "∞", "-∞", "-∞", "to", "-∞", "100%"] in rows
    assert ["score", "1.0000", "0.4167", "+0.5833", "100%"] in rows


def test_an_explanation_is_a_tree():
    reason = Reason(
        "whole", {}, [Reason("part", {}, [Reason("[red]line", {})]), Reason("other", {})]
    )
    assert shown(reason_tree(reason)).splitlines() == [
        "whole",
        "├── part",
        "│   └── [red]line",
        "└── other",
    ]


def test_markup_in_a_name_is_shown_as_it_is():
    times = {("[bold]x", "[red]w"): 1.0, ("[/]y", "[red]w"): 2.0}
    results = make_results(single(["[red]w"]), one_trial(times))
    board = make_board(single(["[red]w"]), one_trial(times))
    tables = [standings_table(board), times_table(board)]
    tables.append(comparison_table(compare(results, "[bold]x", "[/]y", RULES)))
    for table in tables:
        text = shown(table)
        assert "[bold]x" in text
        assert "[/]y" in text
    assert "[red]w" in shown(tables[1])
    assert "[red]w" in shown(tables[2])
