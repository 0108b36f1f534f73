"""The files and commands of AGENTS.md and of the tutorials, run as their readers run them."""

import importlib
import json
import shlex
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[3]


def steps(page):
    """The fenced files (with a title) and command lines of a page, in its order."""
    for token in MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "fence":
            kind, _, title = token.info.partition(" title=")
            if title:
                yield title.strip('"'), token.content
            elif not kind:
                for line in token.content.splitlines():
                    yield None, line


@pytest.mark.ray
@pytest.mark.parametrize(
    ("page", "made"),
    [
        ("AGENTS.md", "results/loop/score.json"),
        pytest.param(
            "docs/tutorials/first_optimizer.md", "results/mine/page.html", marks=pytest.mark.slow
        ),
    ],
)
def test_a_guide_runs(page, made, chronograd, address, tmp_path):
    ran = 0
    for title, text in steps(page):
        if title:
            file = tmp_path / title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            continue
        name, *words = shlex.split(text, comments=True)
        assert name == "chronograd"
        if words[0] == "sweep":
            words += ["--address", address]
        code, out, err = chronograd(*words)
        traces = [file.read_text() for file in tmp_path.rglob("traceback.txt")]
        assert code == 0, "\n".join([text, out, err, *traces])
        if words[-1] == "--json":
            assert json.loads(out)
        ran += 1
    assert ran >= 5
    assert (tmp_path / made).stat().st_size > 1000


def test_the_agents_page_is_short_and_its_exit_codes_are_those_of_the_code(chronograd, tmp_path):
    from harness.cli.options import INTERRUPTED
    from harness.executors.head import EXIT_CODE

    lines = (ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    named = {line.split("|")[1].strip() for line in lines if line.startswith("| ")}
    assert named == {"exit code", "0", "1", "2", str(EXIT_CODE), str(INTERRUPTED)}
    assert chronograd("data", "check", "mnist", "--data-dir", tmp_path)[0] == 1
    code, out, err = chronograd("compare", tmp_path / "nothing", "a", "b", "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_the_workload_of_the_tutorial_keeps_the_contract(tmp_path, monkeypatch):
    for title, text in steps("docs/tutorials/add_a_workload.md"):
        if title:
            (tmp_path / title).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    tests = importlib.import_module("test_two_moons").TestTwoMoons
    workload = importlib.import_module("two_moons").TwoMoons
    for name in [name for name in dir(tests) if name.startswith("test_")]:
        with pytest.MonkeyPatch.context() as patch:
            test = getattr(tests(), name)
            extra = {"monkeypatch": patch} if "monkeypatch" in test.__code__.co_varnames else {}
            test(workload=workload(), **extra)
    for name in ("test_two_moons", "two_moons"):
        sys.modules.pop(name)
