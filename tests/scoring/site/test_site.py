"""The site: all its pages, their links, histories that only grow, and boards.toml."""

import json
import os
import re
import shutil
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from scoring.plain import read_json
from scoring.records import RecordError, UserError
from scoring.site.boards import read_plan
from scoring.site.build import build
from scoring.site.history import moves, read_history
from tests.scoring.logs import write_logs
from tests.scoring.trees import write_tree

EXAMPLE = Path(__file__).parents[3] / "docs" / "site"
CHROMIUM = shutil.which("chromium")
BOARDS = """
title = "All <boards>"
[[boards]]
name = "first"
title = "First board"
results = ["tree"]
[[boards]]
name = "logs"
results = ["logs"]
ruleset = "toy.toml"
tuning = "external"
[[boards]]
name = "absent"
results = ["nowhere"]
optional = true
"""
RULES = """
studies = 1
trials = 1
self_tuning_budget_factor = 1.5
r_max = 4
scored = ["v"]
[workloads.v]
metric = "loss"
direction = "min"
validation_target = 0.5
budget_seconds = 100
"""


def grow(root, **seconds):
    """A tree with a submission for each name, at its seconds on both workloads."""
    shutil.rmtree(root / "tree", ignore_errors=True)
    trials = {(name, "v", 0, 1): time for name, time in seconds.items()}
    write_tree(root / "tree", trials, environment={"host": "secret-host"})


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A site's sources: one board."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1893456000")
    (tmp_path / "boards.toml").write_text('[[boards]]\nname = "first"\nresults = ["tree"]\n')
    grow(tmp_path, adamw=2.0, sgd=3.0)
    return tmp_path


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site of two boards and an absent one."""
    root = tmp_path_factory.mktemp("sources")
    (root / "boards.toml").write_text(BOARDS)
    (root / "toy.toml").write_text(RULES)
    grow(root, adamw=2.0, sgd=3.0)
    logs = {(name, "v", 0, 1): [(1.0, 0.9), (2.0, 0.4)] for name in ("adamw", "b c")}
    write_logs(root / "logs", logs)
    said = []
    built(root, said)
    assert said[2] == f"absent: left out: no folder {root / 'nowhere'}"
    return root / "site"


def built(root, said=None):
    build(read_plan(root / "boards.toml"), root / "site", (said if said is not None else []).append)
    return root / "site"


def test_it_has_a_page_for_each_board_and_submission_and_every_link_leads_somewhere(site):
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert pages == {
        "index.html",
        *(
            f"boards/{name}/{page}.html"
            for name in ("first", "logs")
            for page in ("index", "history")
        ),
        *(f"submissions/{name}/index.html" for name in ("adamw", "sgd", "b-c")),
    }
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert str(site.parent) not in text
        assert "secret-host" not in text
        assert "<script src" not in text
        ids = set(re.findall(r'\bid="([^"]+)"', text))
        for link in re.findall(r'\bhref="([^"]+)"', text):
            if link.startswith("#"):
                assert link[1:] in ids, (page, link)
            elif not link.startswith("data:"):
                assert "://" not in link
                assert (page.parent / unquote(link)).exists(), (page, link)
    assert "All &lt;boards&gt;" in (site / "index.html").read_text()


def test_a_board_has_its_data_beside_it(site):
    folder = site / "boards" / "first"
    scores = json.loads((folder / "leaderboard.json").read_text())
    assert [entry["name"] for entry in scores["submissions"]] == ["adamw", "sgd"]
    assert (folder / "leaderboard.csv").read_text().startswith("rank,submission,score")
    assert "secret-host" not in (folder / "trials.csv").read_text()


def test_a_submission_has_its_place_on_every_board(site):
    page = (site / "submissions" / "adamw" / "index.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "First board 1 of 2 1.0000" in text
    assert "logs 1 of 2 1.0000" in text
    assert "learning_rate 0.1" in text
    assert "0" * 64 in text


def test_the_same_results_add_no_version_and_give_the_same_bytes(root):
    site = built(root)
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    built(root)
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before
    assert len(read_history(site / "boards" / "first" / "history.json")) == 1


def test_a_history_lists_new_and_moved_submissions_and_why(root):
    site = built(root)
    grow(root, adamw=2.0, sgd=3.0, lion=1.0)
    built(root)
    grow(root, adamw=2.0, sgd=1.5, lion=1.0)
    built(root)
    versions = read_history(site / "boards" / "first" / "history.json")
    assert [[entry["name"] for entry in v["standings"]] for v in versions] == [
        ["adamw", "sgd"],
        ["lion", "adamw", "sgd"],
        ["lion", "sgd", "adamw"],
    ]
    came, moved = moves(versions[0], versions[1]), moves(versions[1], versions[2])
    assert "lion is new, at rank 1" in came
    assert any(
        line.startswith(
            "adamw: rank 1 to 2, score 0.6667 (-0.3333): lion set the fastest time on v"
        )
        for line in came
    )
    assert any(
        line.startswith("sgd: rank 3 to 2") and "its own time on v" in line for line in moved
    )
    # against the frozen times of the first version only sgd's own score changed
    frozen = [{e["name"]: e["reference_score"] for e in v["standings"]} for v in versions]
    assert [scores["adamw"] for scores in frozen] == [1.0, 1.0, 1.0]
    assert frozen[0]["sgd"] == frozen[1]["sgd"] < frozen[2]["sgd"]
    text = (site / "boards" / "first" / "history.html").read_text()
    assert text.index("version 3") < text.index("version 2") < text.index("version 1")
    assert "lion is new, at rank 1" in text


def test_a_damaged_history_is_not_written_over(root):
    file = built(root) / "boards" / "first" / "history.json"
    file.write_text('{"schema": 1, "versions": 3}')
    with pytest.raises(RecordError, match="damaged"):
        built(root)
    assert read_json(file) == {"versions": 3}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "boards: Field required"),
        ("boards = []", "boards: "),
        ('[[boards]]\nname = "a"', "boards.0.results: Field required"),
        (
            '[[boards]]\nname = "a"\nresults = ["x"]\nresult = 1',
            "boards.0.result: unknown key. Did you mean 'results'?",
        ),
        ('[[boards]]\nname = "../a"\nresults = ["x"]', "must be lower-case letters"),
        ('[[boards]]\nname = "a"\nresults = ["x"]\n' * 2, "two boards are called 'a'"),
        ('[[boards]]\nname = "a"\nresults = ["x"]\nmethod = "best"', "boards.0.method: "),
        ("[[", "cannot be read as TOML"),
        (".".join(50_000 * "a") + " = 1", "has a key of more than 100 parts"),
    ],
)
def test_an_error_in_boards_toml_names_its_key(tmp_path, text, told):
    (tmp_path / "boards.toml").write_text(text)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        read_plan(tmp_path / "boards.toml")
    assert "boards.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_board_without_results_is_an_error_unless_it_is_optional(chronograd, root):
    (root / "boards.toml").write_text('[[boards]]\nname = "a"\nresults = ["nowhere"]')
    code, _, err = chronograd("site", "boards.toml", "--out", "site")
    assert (code, err.count("\n")) == (2, 1)
    assert "nowhere: no such folder" in err
    (root / "boards.toml").write_text('[[boards]]\nname = "a"\nresults = ["x"]\noptional = true')
    code, _, err = chronograd("site", "boards.toml", "--out", "site")
    assert code == 2
    assert "no board can be built" in err
    assert not (root / "site").exists()


def test_the_command_prints_what_it_wrote(chronograd, root):
    code, out, err = chronograd("site", "boards.toml", "--out", "site")
    assert (code, err) == (0, "")
    assert "first: 2 submissions" in out
    assert f"Written: {os.path.join('site', 'index.html')}" in out  # noqa: PTH118


def test_the_examples_are_valid():
    plan = read_plan(EXAMPLE / "boards.toml")
    assert all(board.optional for board in plan.boards)
    assert plan.intro.is_file()
    assert tomllib.loads((EXAMPLE / "boards.toml").read_text())["title"] == plan.title
    workflow = yaml.safe_load((EXAMPLE / "workflow.yml").read_text())
    steps = [step.get("run", "") for step in workflow["jobs"]["site"]["steps"]]
    assert any("--strict" in step for step in steps)
    assert "chronograd site docs/site/boards.toml --out site" in steps


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
def test_its_pages_are_styled_and_without_errors_in_a_browser(site):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        faults = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in (
            "index",
            "boards/first/index",
            "boards/first/history",
            "submissions/sgd/index",
        ):
            page.goto((site / f"{name}.html").as_uri())
            color = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert color == "rgb(16, 20, 24)", name
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        page.goto((site / "index.html").as_uri())
        page.get_by_role("link", name="First board").click()
        page.get_by_role("link", name="History").click()
        assert page.title() == "First board: history"
        browser.close()
        assert faults == []


def test_a_board_at_a_fixed_step_is_refused_by_name(root):
    text = '[[boards]]\nname = "steps"\nresults = ["tree"]\nruleset = "track3"\n'
    (root / "boards.toml").write_text(text)
    with pytest.raises(UserError, match="steps: ruleset track3 compares losses at a fixed step"):
        build(read_plan(root / "boards.toml"), root / "site", print)
