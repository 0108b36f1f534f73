"""The page: its text, safety and completeness. test_page.py tests it in a browser."""

import json
import re
from html.parser import HTMLParser

import pytest

from scoring.leaderboard import make_leaderboard
from scoring.reading.info import read_info
from scoring.reading.read import read
from scoring.reading.results import Submission
from scoring.records import Failure, Status
from scoring.reference import load_reference, save_reference
from scoring.report.page import About, write_html
from scoring.report.words import letters, slugs
from scoring.rulesets import Ruleset
from scoring.times import OFFICIAL, RULES
from scoring.tree import write_trial
from tests.scoring.trees import make_result, make_row, make_spec, write_experiment, write_tree

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


def test_the_page_is_complete_and_loads_nothing(tmp_path):
    page = page_of(write_tree(tmp_path / "tree", TRIALS), tmp_path / "page.html")
    tags = Tags(page)
    assert tags.open == []
    assert all(url.startswith(("#", "data:image/svg+xml,")) for url in tags.urls)
    assert tags.tags.count("link") == 1  # the icon
    assert not {"img", "iframe"} & set(tags.tags)
    assert not re.search(r"@import|url\((?!#)", page)
    assert len(tags.ids) == len(set(tags.ids))
    assert {url[1:] for url in tags.urls if url.startswith("#")} <= set(tags.ids)
    assert set(re.findall(r"https?://[^\"'\s<]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/2000/svg&#39;",  # in the icon
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


def test_the_page_has_every_part_of_the_results(tmp_path):
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
        "∞ a 0/2",
        "a target missed",
        "scored by the written rules",
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


def about_page(tmp_path, about, **environment):
    """A page of a tree with folders and a machine of its publisher everywhere."""
    tree = tmp_path / "secret" / "tree"
    info = {"title": "Ours", "authors": ["A. B.", "C. D."], "code": "https://example.org/x.git"}
    info |= {"paper": "Us 2026, https://example.org/paper.pdf", "description": "What it does."}
    (tmp_path / "secret" / "a").mkdir(parents=True)
    (tmp_path / "secret" / "a" / "submission_info.json").write_text(json.dumps(info))
    host = {"host": "gpu-node-17", "pid": 4321, "platform": "Linux"}
    write_tree(tree, TRIALS, environment={**host, **environment})
    plan = json.loads((tree / "experiment.json").read_text())
    plan["submissions"]["a"]["path"] = str(tmp_path / "secret" / "a")
    (tree / "experiment.json").write_text(json.dumps(plan))
    message = f"no such file: {tmp_path}/data/x.bin on gpu-node-17, /home/jo/y.py:3"
    failed = make_result(
        [], Status.FAILED, failure=Failure.DATA_ERROR, message=message, environment=host
    )
    write_trial(tree, make_spec("b", "w", 0, 1), failed)
    board = make_leaderboard(read([tree]), resamples=10)
    write_html(board, tmp_path / "page.html", about)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_no_folder_and_no_machine_of_the_publisher_is_shown(tmp_path):
    page = about_page(tmp_path, About(command=f"chronograd score {tmp_path}/secret/tree"))
    for secret in (str(tmp_path), "gpu-node-17", "/home/jo", "4321", "secret"):
        assert secret not in page, secret
    text = words(page)
    assert "no such file: …/x.bin on host-1, …/y.py:3" in text
    assert "chronograd score tree" in text
    assert "platform Linux" in text
    files = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["files"]
    assert "host-1" in files["trials.csv"]
    assert "tree/submissions/a/study_0" in files["trials.csv"]


def test_a_submission_has_its_title_authors_and_links(tmp_path):
    page = about_page(tmp_path, About())
    assert "Ours A. B., C. D. paper code" in words(page)
    assert 'href="https://example.org/x.git"' in page
    assert 'href="https://example.org/paper.pdf"' in page


def test_a_publisher_gives_title_and_introduction(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1893456000")
    intro = "# Hello\n\n*fast* [site](https://example.org) <b>x</b> ![p](https://x.y/z.png)"
    page = about_page(tmp_path, About(title="My <board>", intro=intro))
    assert "<title>My &lt;board&gt;, external tuning</title>" in page
    assert "<em>fast</em>" in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<img" not in page
    assert "Made on 2030-01-01 with Chronograd" in words(page)
    assert re.search(r'<meta name="description" content="[^"]{40,}">', page)
    assert re.search(r'<link rel="icon" href="data:image/svg', page)


@pytest.mark.parametrize("address", ["javascript:alert(1)", "ftp://x", '" onclick="x'])
def test_no_other_address_becomes_a_link(tmp_path, address):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "submission_info.json").write_text(json.dumps({"code": address}))
    source = Submission(tree="t", folder=tmp_path / "a", facts={})
    assert read_info(source).links == ()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(70_197.0, "19.5 h"), (1_119.0, "18.6 min"), (0.889, "0.889 s"), (99.0, "99.0 s")],
)
def test_times_are_short(tmp_path, seconds, shown):
    trials = {("a", "v", 0, 1): seconds}
    tree = write_tree(tmp_path / "tree", trials, budget=1e6)
    spec = make_spec("a", "v", 0, 1, budget_seconds=1e6)
    rows = [make_row(seconds / 2, 1.0), make_row(seconds, 0.5)]
    write_trial(tree, spec, make_result(rows))
    assert f"{shown} fastest" in words(page_of(tree, tmp_path / "page.html"))


def test_slugs_are_short_and_differ():
    names = {n: n for n in ("A b", "a-b", "/x/ y", "é", "a_b.c")}
    assert list(slugs(names).values()) == ["a-b", "a-b-2", "x-y", "x", "a_b.c"]
    assert [letters(n) for n in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]


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


def test_the_frozen_score_is_beside_the_score(tmp_path):
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
