"""What describes the project says the same everywhere."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TOML["project"]


def test_the_citation_names_the_version_and_the_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in PROJECT["authors"]
    ]


def test_ci_runs_on_every_python_that_is_named():
    flow = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())
    job = flow["jobs"]["check"]
    named = {
        text.rpartition(" ")[2]
        for text in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", text)
    }
    assert set(job["strategy"]["matrix"]["python"]) == named
    assert PROJECT["requires-python"] == f">={min(named, key=lambda v: int(v[2:]))}"
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


def test_hooks_run_what_make_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    linted = set(re.findall(r"^\t\$\(BIN\)/(\w+)(?: check| format|$)", lint(), re.MULTILINE))
    assert linted == {"ruff", "mypy", "codespell"}
    assert tools - linted == {"check-added-large-files"}


def lint():
    """The recipe of `make lint`."""
    return (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]


def test_every_package_is_typed():
    for pattern in TOML["tool"]["setuptools"]["packages"]["find"]["include"]:
        assert (ROOT / pattern.removesuffix("*") / "py.typed").is_file()


def test_scoring_is_installed_without_what_trains():
    base = {re.split(r"[<>=\[]", wanted)[0] for wanted in PROJECT["dependencies"]}
    training = {"torch", "ray", "scipy", "cloudpickle"}
    assert not base & training
    run = {re.split(r"[<>=\[]", wanted)[0] for wanted in PROJECT["optional-dependencies"]["run"]}
    assert training <= run
