"""The terminal's table and the page."""

import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from scoring.leaderboard import make_leaderboard
from scoring.read import read_tree
from scoring.records import Failure, Status
from scoring.report import format_number, terminal_table, write_html
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


def terminal(tmp_path, trials, **plan) -> str:
    board = make_leaderboard(read_tree(write_tree(tmp_path / "tree", trials, **plan)))
    console = Console(width=100)
    with console.capture() as capture:
        console.print(terminal_table(board))
    return capture.get()


def page_of(tree, path) -> str:
    results = read_tree(tree)
    write_html(results, make_leaderboard(results), path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.01234, "0.0123"),
        (1.266, "1.27"),
        (45.67, "45.7"),
        (99.96, "100.0"),
        (1234.5, "1,234"),
        (1e-9, "1e-09"),
        (float("inf"), "∞"),
    ],
)
def test_numbers_are_short(value, text):
    assert format_number(value) == text


def test_the_terminal_shows_times_marks_and_misses(tmp_path):
    text = terminal(tmp_path, TRIALS)
    rows = [line.split() for line in text.splitlines()]
    assert ["rank", "submission", "score", "v", "w"] in rows
    assert ["1", "a", "1.000", "2.00*", "2.00*"] in rows
    assert ["2", "b", "0.417", "3.00", "∞", "1/2"] in rows


def test_the_terminal_shows_markup_in_names_as_it_is(tmp_path):
    assert "[bold]x" in terminal(tmp_path, {("[bold]x", "w", 0, 1): 1.0})


def test_the_terminal_says_when_seconds_are_counted(tmp_path):
    assert "step clock" not in terminal(tmp_path, TRIALS)
    write_experiment(tmp_path, ["a"], ["w"], clock="steps")
    table = terminal_table(make_leaderboard(read_tree(tmp_path)))
    assert "step clock" in str(table.caption)


class Loads(HTMLParser):
    """Collects what a page would load or run, and the tags it uses."""

    def __init__(self):
        super().__init__()
        self.urls, self.tags, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.urls += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value for name, value in attrs if name == "id"]


def test_the_page_loads_nothing(tmp_path):
    page = page_of(write_tree(tmp_path / "tree", TRIALS), tmp_path / "page.html")
    loads = Loads()
    loads.feed(page)
    assert all(url.startswith("#") for url in loads.urls)
    assert not {"script", "link", "img", "iframe"} & set(loads.tags)
    assert not re.search(r"@import|url\((?!#)", page)
    assert len(loads.ids) == len(set(loads.ids))
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
    loads = Loads()
    page = page_of(tree, tmp_path / "page.html")
    loads.feed(page)
    assert not {"script", "b", "i", "img"} & set(loads.tags)
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_page_tells_the_whole_story(tmp_path):
    tree = write_tree(tmp_path / "tree", TRIALS, clock="wall")
    failed = make_result([], Status.FAILED, failure=Failure.OOM, message="no memory left")
    write_trial(tree, make_spec("b", "w", 0, 1), failed)
    page = page_of(tree, tmp_path / "new" / "page.html")
    text = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))
    for part in (
        "ruleset mini",
        "external tuning",
        "2 studies \N{MULTIPLICATION SIGN} 1 trial",
        "loss ≤ 0.5",
    ):
        assert part in text
    for part in (
        "1.50\N{MULTIPLICATION SIGN} · 2/2",
        "missed · 0/2",
        "fastest · 2/2",
        "20 steps",
        "no memory left",
    ):
        assert part in text
    assert "b on w: no readable study_1/trial_1" in text  # the warning
    assert "platform test" in text
    assert "0" * 64 in text
    assert page.count('role="img" aria-label="') == 1 + 2  # profiles and two workloads
    assert all("scope=" in heading for heading in re.findall(r"<th\b[^>]*>", page))


def test_the_page_marks_the_step_clock(tmp_path):
    write_experiment(tmp_path / "tree", ["a"], ["w"], clock="steps")
    assert "not measured" in page_of(tmp_path / "tree", tmp_path / "page.html")
