"""The leaderboard as JSON, CSV and Markdown, read back by other programs."""

import csv
import io
import json
import math
import re
import unicodedata

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scoring.leaderboard import make_leaderboard
from scoring.plain import read_json, write_json
from scoring.reference import load_reference, save_reference
from scoring.report.tables import to_csv, to_json, to_markdown
from scoring.speedup import Speedup, speedups
from scoring.times import METHODS, OFFICIAL, RULES
from tests.scoring import oracle
from tests.scoring.boards import INF, drawn_boards, make_board, make_results, one_trial, single

BOTH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
TIMES = {("a", "v"): 1.0, ("a", "w"): INF, ("b", "v"): 2.0, ("b", "w"): 8.0, ("a", "h"): 5.0}
NASTY = ["a|b", "<script>alert(1)</script>", "`code`", "*stars* _and_ __lines__", "a\nb", "a\r\nb"]
NASTY += [
    "[link](http://x.y)",
    "![image](x)",
    "back\\slash\\|",
    "&lt;b&gt; &amp;",
    "~~gone~~",
    "a\rb",
]
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\r"), min_size=1
)


def example(studies=1, **options):
    times = {key: [seconds] * studies for key, seconds in TIMES.items()}
    return make_board(single("vw", {"h": "w"}, studies=studies), one_trial(times), **options)


def test_json_has_the_agreed_shape():
    data = to_json(example())
    assert (data["ruleset"], data["method"], data["workloads"]) == ("toy", "rules", ["v", "w"])
    assert {"tuning", "clock", "studies", "trials", "r_max"} <= data.keys()
    assert data["held_out"] == {"h": "w"}
    assert [submission["name"] for submission in data["submissions"]] == ["a", "b"]
    first, second = data["submissions"]
    agreed = {"name", "score", "score_low", "score_high", "rank", "times", "ratios", "hours"}
    assert agreed <= first.keys()
    assert (first["rank"], first["score"]) == (1, 0.5)
    assert first["score_low"] == first["score_high"] == 0.5
    assert first["times"] == {"v": 1.0, "w": None}
    assert first["ratios"] == {"v": 1.0, "w": None}
    assert first["steps"] == {"v": 10.0, "w": None}
    assert first["held_out_times"] == {"h": 5.0}
    assert second["times"] == {"v": 2.0, "w": 8.0}
    assert second["ratios"] == {"v": 2.0, "w": None}  # its variant was missed
    assert second["not_counted"].keys() == {"w", "h"}
    assert second["studies_reached"] == {"v": 1, "w": 1, "h": 0}
    assert first["hours"] == pytest.approx((1.0 + 1.0 + 5.0) / 3600)
    assert first["rank_probabilities"] == [1.0, 0.0]
    assert first["beats"] == {"a": 0.5, "b": 1.0}
    assert first["reference_score"] is first["speedup"] is None
    assert data["uncertainty"] == {"resampled": "studies", "resamples": 20, "seed": 0}
    assert data["reference"] is None


@BOTH
@settings(max_examples=40)
@given(drawn_boards())
def test_json_shows_every_stage_of_the_reference(method, board):
    rules, submissions, trials = board
    plain = rules.model_dump()
    table = oracle.study_table(plain, trials, submissions, method is OFFICIAL)
    times = oracle.medians(plain, table, submissions)
    after = oracle.stages(plain, times, submissions)
    after["median"] = {key: INF if time is None else time for key, time in times.items()}
    data = to_json(make_board(rules, trials, method, submissions))
    for submission in data["submissions"]:
        for mine, theirs in [
            (submission["ratios"], "ratios"),
            ({**submission["times"], **submission["held_out_times"]}, "median"),
            (submission["after_rule"]["median_over_studies"], "median"),
            (submission["after_rule"]["variant_needs_workload"], "entered"),
            (submission["after_rule"]["within_r_max"], "capped"),
            (submission["after_rule"]["workload_needs_variant"], "final"),
        ]:
            expected = {w: t for (s, w), t in after[theirs].items() if s == submission["name"]}
            assert mine == {w: None if t == INF else t for w, t in expected.items()}


@settings(max_examples=25)
@given(drawn_boards())
def test_json_survives_its_file(tmp_path_factory, board):
    rules, submissions, trials = board
    results = make_results(rules, trials, submissions)
    data = to_json(
        make_leaderboard(results, resamples=10), speedups(results, RULES, submissions[0])
    )
    path = tmp_path_factory.mktemp("json") / "board.json"
    write_json(path, data)
    assert read_json(path) == data == json.loads(json.dumps(data, allow_nan=False))


def test_json_holds_speedups_and_the_frozen_reference(tmp_path):
    board = example()
    save_reference(tmp_path / "ref.json", board.stages, board.results.scope, board.method)
    reference = load_reference(tmp_path / "ref.json")
    data = to_json(example(reference=reference), {"a": Speedup(0.5, math.nan), "b": Speedup(1, 1)})
    assert data["reference"] == {"made": reference.made, "hash": reference.hash}
    first = data["submissions"][0]
    assert first["reference_score"] == first["score"]
    assert first["speedup"] == {"ratio": 0.5, "official_ratio": None}


def test_csv_has_a_row_a_submission():
    first, second = csv.DictReader(io.StringIO(to_csv(example())))
    assert (first["rank"], first["submission"], first["score"]) == ("1", "a", "0.5")
    assert (first["w/seconds"], first["w/ratio"], first["v/ratio"]) == ("inf", "inf", "1.0")
    assert (second["w/seconds"], second["w/ratio"], second["h/ratio"]) == ("8.0", "inf", "nan")
    assert "h" in second["w/reason"]
    assert first["reference_score"] == ""
    assert (first["trials/planned"], second["trials/missing"]) == ("3", "1")
    assert (first["trials/missed"], second["trials/missed"]) == ("1", "0")


@BOTH
@settings(max_examples=25)
@given(drawn_boards())
def test_csv_holds_the_numbers_exactly(method, board):
    rules, submissions, trials = board
    board = make_board(rules, trials, method, submissions)
    rows = list(csv.reader(io.StringIO(to_csv(board), newline="")))
    assert len({len(row) for row in rows}) == 1
    assert len(set(rows[0])) == len(rows[0])
    frame = pd.read_csv(io.StringIO(to_csv(board)))
    assert frame["submission"].tolist() == [standing.name for standing in board.standings]
    for field in ("rank", "score", "low", "high", "hours"):
        expected = [getattr(standing, field) for standing in board.standings]
        assert frame[field].tolist() == pytest.approx(expected, rel=1e-14)
        assert [float(row[rows[0].index(field)]) for row in rows[1:]] == expected
    for workload in board.results.scope.workloads:
        for column in ("seconds", "steps", "ratio"):
            expected = [getattr(s.cells[workload], column) for s in board.standings]
            assert frame[f"{workload}/{column}"].tolist() == pytest.approx(
                expected, rel=1e-14, nan_ok=True
            )


def as_shown(name):
    """A name with whatever a terminal would act on spelled out."""
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else repr(c)[1:-1] for c in name
    )


def as_text(name):
    """A name as a spreadsheet takes it for text."""
    shown = as_shown(name)
    return f"'{shown}" if shown.lstrip()[:1] in set("=+-@＝＋－＠") else shown


@given(st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_csv_keeps_any_name(names):
    board = make_board(single("w"), one_trial({(name, "w"): 2.0 for name in names}))
    rows = list(csv.reader(io.StringIO(to_csv(board), newline="")))
    assert [row[1] for row in rows] == ["submission", *map(as_text, sorted(names))]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "＝1"])
def test_csv_has_no_formula(name):
    board = make_board(single("w"), one_trial({(name, "w"): 2.0}))
    rows = list(csv.reader(io.StringIO(to_csv(board), newline="")))
    assert rows[1][1] == f"'{name}"


def rendered(markdown):
    """The cells of the one table in a Markdown text, and the text after it."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    rows, after, in_table = [], "", False
    for token in tokens:
        if token.type == "table_open":
            assert not rows
            in_table = True
        elif token.type == "table_close":
            in_table = False
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            kinds = {child.type for child in token.children}
            assert kinds <= {"text", "code_inline"}, "more than plain text"
            text = "".join(child.content for child in token.children)
            if in_table:
                rows[-1].append(text)
            else:
                after += text
    return rows, after


def test_markdown_shows_scores_times_and_ratios():
    rows, note = rendered(to_markdown(example(studies=2)))
    assert rows == [
        ["rank", "submission", "score", "95% interval", "hours", "v", "w"],
        ["1", "a", "0.5000", "0.500–0.500", "0.003889", "1 (1.00×)", "–"],
        ["2", "b", "0.3333", "0.333–0.333", "0.005556", "2 (2.00×)", "8 (–)"],
    ]
    assert note.startswith("Ruleset toy, external tuning, method rules.")
    rows, _ = rendered(to_markdown(example()))
    assert rows[0] == ["rank", "submission", "score", "hours", "v", "w"]
    assert to_markdown(example()).split("\n")[1].startswith("| --: | :-- | --: |")


def test_markdown_has_a_column_for_the_frozen_score(tmp_path):
    board = example()
    save_reference(tmp_path / "ref.json", board.stages, board.results.scope, board.method)
    rows, _ = rendered(to_markdown(example(reference=load_reference(tmp_path / "ref.json"))))
    assert rows[0][3] == "frozen score"
    assert [row[3] for row in rows[1:]] == [row[2] for row in rows[1:]]
    assert {len(row) for row in rows} == {7}


def check_markdown(names):
    board = make_board(single("w"), one_trial({(name, "w"): 2.0 for name in names}))
    rows, _ = rendered(to_markdown(board))
    lines = to_markdown(board).split("\n")
    assert len(rows) == 1 + len(names)
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(names)
    assert {len(row) for row in rows} == {5}
    shown = [" ".join(row[1].split()) for row in rows[1:]]
    assert shown == [" ".join(as_shown(name).split()) for name in sorted(names)]


@pytest.mark.parametrize("name", NASTY)
def test_markdown_shows_a_nasty_name_as_it_is(name):
    check_markdown([name])


@given(
    st.lists(
        NAMES | st.text("|\\`*_~<>[]()!&#;-+=ab1 \n", min_size=1),
        min_size=1,
        max_size=3,
        unique=True,
    )
)
def test_markdown_shows_any_name_as_it_is(names):
    check_markdown(names)


@pytest.mark.parametrize("name", ["https://a.example", "www.a.example", "me@a.example", "@someone"])
def test_markdown_makes_no_link_of_a_name(name):
    check_markdown([name])
    board = make_board(single("w"), one_trial({(name, "w"): 2.0}))
    assert f"| `{name}` |" in to_markdown(board)


def test_a_markdown_name_of_a_submission_stays_readable_in_its_source():
    board = make_board(single("w"), one_trial({("schedule_free_adamw", "w"): 2.0}))
    assert re.search(r"\| schedule_free_adamw \|", to_markdown(board))
