"""The page while a sweep runs: on loopback, from the ledger, without a byte written."""

import http.client
import json
import shutil
import threading
from contextlib import contextmanager

import pytest

from harness.commands.serve import LivePage, make_server
from harness.sweep.events import AttemptEnded, AttemptStarted, Evaluated
from harness.sweep.ledger import Ledger
from harness.sweep.preparation import preparing
from scoring import rulesets
from scoring.records import Goal, UserError
from scoring.tree import write_trial
from tests.scoring.trees import make_result, make_row, make_spec, write_experiment, write_tree

CHROMIUM = shutil.which("chromium")


@contextmanager
def served(tree, host="127.0.0.1"):
    server = make_server(LivePage(tree), host, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(port, path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.getheader("Content-Type")


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree", {("a", "w", 0, 1): 2.0, ("b", "w", 0, 1): 3.0})


def test_a_board_at_a_fixed_step_is_served_too(tmp_path):
    goal = Goal(metric="loss", direction="min", target=3.28)
    trials = {("a", "w", study, 1): [make_row(1.0, 3.27, 100)] for study in range(2)}
    rules = rulesets.load("track3").model_dump() | {"scored": ()}
    with served(write_tree(tmp_path / "tree", trials, goal=goal, ruleset=rules)) as port:
        _, page, _ = get(port)
    assert "valid at p &lt; 0.001" in page
    assert 'data-version="2"' in page


def test_a_sweep_that_is_prepared_is_served_from_its_beginning(tmp_path):
    out = tmp_path / "tree"
    with preparing(out, lambda line: None) as announce:
        announce("timing the baseline: digits (2 of 13)")
        with served(out) as port:
            page, status = get(port)[1], json.loads(get(port, "/status.json")[1])
            assert "timing the baseline: digits (2 of 13)" in page
            assert "timing the baseline: digits (2 of 13)" in status["lines"][0]
            write_tree(out, {("a", "w", 0, 1): 2.0, ("b", "w", 0, 1): 3.0})
            page, later = get(port)[1], json.loads(get(port, "/status.json")[1])
            assert "<h1>Leaderboard: mini</h1>" in page
            assert later["version"] == 2 != status["version"]


def test_a_sweep_whose_preparation_failed_has_no_leaderboard(tmp_path):
    with preparing(tmp_path / "tree", lambda line: None):
        page = LivePage(tmp_path / "tree")
    assert "no such file" in page.page()
    with pytest.raises(UserError, match="no such file"):
        LivePage(tmp_path / "tree")


def test_the_page_and_its_status_are_served_and_nothing_else(tree):
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    with served(tree) as port:
        status, page, kind = get(port)
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert "<h1>Leaderboard: mini</h1>" in page
        assert 'data-version="2"' in page
        status, text, kind = get(port, "/status.json?x")
        assert (status, kind) == (200, "application/json; charset=utf-8")
        assert json.loads(text)["lines"][0].startswith("2 of 2 trials done")
        assert json.loads(text)["version"] == 2
        assert get(port, "/experiment.json")[0] == 404
        assert get(port, "/../tree/experiment.json")[0] == 404
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 403),
        ("", 403),
    ],
)
def test_no_other_name_reaches_a_loopback_server(tree, host, status):
    with served(tree) as port:
        assert get(port, "/status.json", Host=host)[0] == status


def test_what_runs_is_read_from_the_ledger_and_the_board_follows(tmp_path):
    tree = tmp_path / "tree"
    write_experiment(tree, ["a"], ["w"], 1, 2)
    first, second = make_spec("a", "w", 0, 1), make_spec("a", "w", 0, 2)
    result = make_result([make_row(1.0, 1.0), make_row(2.0, 0.5)], total_seconds=3.0)
    live = LivePage(tree)
    assert live.status()["version"] == 0
    before = live.page()
    assert "Leaderboard: mini" in before
    with Ledger(tree) as ledger:
        ledger.append(AttemptStarted(trial=second.key, attempt=1))
        assert live.status()["running"] == [{"trial": second.key, "latest": "starting"}]
        ledger.append(Evaluated(trial=second.key, attempt=1, row=make_row(7.0, 0.75)))
        (running,) = live.status()["running"]
        assert running["latest"] == "step 70, 7.0 of 100.0 s: loss 0.75 (target <= 0.5)"
        assert live.page() is before  # not drawn again
        write_trial(tree, first, result)
        ledger.append(AttemptEnded(trial=first.key, attempt=1, result=result))
        assert live.status()["version"] == 1
        page = live.page()
    assert 'data-version="1"' in page
    assert "2.00 s" in page
    assert live.status()["running"] == []


def test_a_used_port_and_a_folder_without_results_are_one_line(chronograd, tree):
    with served(tree) as port:
        code, _, err = chronograd("serve", tree, "--port", port)
        assert (code, err.count("\n")) == (2, 1)
        assert "choose another --port" in err
    code, _, err = chronograd("serve", tree / "nothing")
    assert (code, err.count("\n")) == (2, 1)
    with pytest.raises(UserError, match="cannot listen"):
        make_server(LivePage(tree), "300.1.1.1", 0)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt install chromium)")
def test_a_browser_follows_it(tree):
    from playwright.sync_api import sync_playwright

    with served(tree) as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        faults = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#under-way li").first.wait_for()
        assert "2 of 2 trials done" in page.locator("#under-way").inner_text()
        browser.close()
        assert faults == []
