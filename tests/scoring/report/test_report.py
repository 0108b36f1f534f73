"""The page: its text, and that it is safe and complete. test_page.py looks at it in a browser."""

import re
from html.parser import HTMLParser

import pytest

from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.records import Failure, Status
from scoring.reference import load_reference, save_reference
from scoring.report.page import write_html
from scoring.rulesets import Ruleset
from scoring.times import OFFICIAL, RULES
from scoring.tree import write_trial
from tests.scoring.trees import make_result, make_spec, write_experiment, write_tree

TRIALS = {
    ("a", "v", 0, 1): 2.0,
    ("a", "w", 0, 1): 2.0,
    ("a", "w", 1, 1): 2.0,
    ("a", "v", 1, 1): 2.0,
    ("b", "v", 0, 1): 3.0,
    ("b", "v", 1, 1): 3.0,
    ("b", "w", 0, 1): 3.0,
}


def page_of(tree, path, method=RULES, reference=None) -> str:
    write_html(make_leaderboard(read([tree]), method, reference, resamples=100), path)
    return path.read_text(encoding="utf-8")


def words(page) -> str:
    """The text of a page without what only programs read."""
    text = re.sub(r"<(style|script).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.replace("<wbr>", "")))


class Tags(HTMLParser):
    """Collects what a page would load, the tags it uses, its ids, and whether they are balanced."""

    VOID = ("meta", "input", "wbr", "br", "link", "img")

    def __init__(self, page):
        super().__init__()
        self.urls, self.tags, self.ids, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.urls += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    page = page_of(write_tree(tmp_path / "tree", TRIALS), tmp_path / "page.html")
    tags = Tags(page)
    assert tags.open == []
    assert all(url.startswith("#") for url in tags.urls)
    assert not {"link", "img", "iframe"} & set(tags.tags)
    assert not re.search(r"@import|url\((?!#)", page)
    assert len(tags.ids) == len(set(tags.ids))
    assert {url[1:] for url in tags.urls} <= set(tags.ids)
    assert set(re.findall(r"https?://[^\"'\s<]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }  # names of namespaces, never loaded


def test_the_page_is_the_same_every_time(tmp_path):
    tree = write_tree(tmp_path / "tree", TRIALS)
    assert page_of(tree, tmp_path / "1.html") == page_of(tree, tmp_path / "2.html")
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "1.html", "2.html"}


def test_names_and_messages_stay_text(tmp_path):
    name, workload, evil = "<script>alert(1)<", "w&<b>", "<img src=x onerror=alert(1)>"
    tree = tmp_path / "tree"
    write_experiment(tree, [name], [workload], trials=2, environment={"<i>": evil})
    failed = make_result([], Status.FAILED, failure=Failure.DATA_ERROR, message=evil)
    write_trial(tree, make_spec(name, workload), failed)
    page = page_of(tree, tmp_path / "page.html")
    tags = Tags(page)
    assert not {"b", "img"} & set(tags.tags)
    assert tags.tags.count("script") == 2
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_page_tells_the_whole_story(tmp_path):
    tree = write_tree(tmp_path / "tree", TRIALS, clock="wall")
    failed = make_result([], Status.FAILED, failure=Failure.OOM, message="no memory left")
    write_trial(tree, make_spec("b", "w", 0, 1), failed)
    page = page_of(tree, tmp_path / "new" / "page.html")
    text = words(page)
    for part in (
        "Leaderboard: mini",
        "external tuning",
        "2 studies × 1 trial",
        "loss ≤ 0.5",
        "1.50× ·&nbsp;2/2",
        "target missed ·&nbsp;0/2",
        "fastest ·&nbsp;2/2",
        "20 steps",
        "no memory left",
        "b on w: no study 1",
        "platform test",
        "0" * 64,
        "100 of studies, seed 0",
    ):
        assert part in text, part
    assert page.count('role="img" aria-label="') == 1 + 2  # profiles and two workloads
    assert all("scope=" in heading for heading in re.findall(r"<th\b[^>]*>", page))


def test_the_page_marks_the_step_clock(tmp_path):
    write_experiment(tmp_path / "tree", ["a"], ["w"], clock="steps")
    assert "not measured" in page_of(tmp_path / "tree", tmp_path / "page.html")


def test_the_page_says_how_it_was_scored(tmp_path):
    tree = write_tree(tmp_path / "tree", TRIALS)
    rules, official = (
        words(page_of(tree, tmp_path / f"{method.name}.html", method))
        for method in (RULES, OFFICIAL)
    )
    assert "fastest trial" in rules
    assert "a missing one being infinite" in rules
    assert "100 trapezoids" in official
    assert "without missing ones" in official


def test_a_reference_stands_beside_the_score(tmp_path):
    tree = write_tree(tmp_path / "tree", TRIALS)
    board = make_leaderboard(read([tree]), resamples=10)
    save_reference(tmp_path / "ref.json", board.stages, board.results.scope, board.method)
    reference = load_reference(tmp_path / "ref.json")
    page = words(page_of(tree, tmp_path / "page.html", reference=reference))
    assert f"score against the reference of {reference.made}" in page
    assert reference.hash in page


def test_held_out_variants_have_their_column_and_reason(tmp_path):
    rules = Ruleset(
        name="x",
        studies=1,
        trials=1,
        self_tuning_budget_factor=1.5,
        r_max=4,
        scored=("w",),
        held_out={"v": "w"},
    )
    trials = {("a", "w", 0, 1): 1.0, ("a", "v", 0, 1): [], ("b", "w", 0, 1): 2.0}
    tree = write_tree(tmp_path / "tree", trials, ruleset=rules.model_dump())
    text = words(page_of(tree, tmp_path / "page.html"))
    assert "1 held out" in text
    assert "held-out v: target missed" in text
    assert "held-out v: no trial read" in text


@pytest.mark.parametrize("change", ["value", "target"])
def test_hashes_move_with_the_measurements_and_the_rules(tmp_path, change):
    def hashes(page):
        return re.findall(r"<code>([0-9a-f]{64})</code>", page)[:2]

    tree = write_tree(tmp_path / "1", TRIALS)
    before = hashes(page_of(tree, tmp_path / "1.html"))
    if change == "value":
        other = write_tree(tmp_path / "2", {**TRIALS, ("a", "v", 0, 1): 2.5})
        ruleset, measurements = hashes(page_of(other, tmp_path / "2.html"))
        assert (ruleset == before[0], measurements == before[1]) == (True, False)
    else:
        other = write_tree(tmp_path / "2", TRIALS, budget=99.0)
        ruleset, measurements = hashes(page_of(other, tmp_path / "2.html"))
        assert (ruleset == before[0], measurements == before[1]) == (False, True)
