"""The documentation site: its links, and that it needs nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs.site_build import PAGES, _link

ROOT = Path(__file__).parents[1]


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without its Python objects."""


Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def pages_of(nav):
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else pages_of(value)


def test_every_page_has_a_place_in_the_navigation():
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]
    named = list(pages_of(nav))
    assert len(named) == len(set(named))
    written = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert written - {"site/intro.md"} <= set(named)


@pytest.mark.parametrize(
    ("address", "folder", "page", "expected"),
    [
        ("docs/scoring.md#output", ".", "index.md", "[x](scoring.md#output)"),
        ("../README.md#overhead", "docs", "scoring.md", "[x](index.md#overhead)"),
        ("../../README.md", "docs/concepts", "concepts/clock.md", "[x](../index.md)"),
        ("../scoring.md", "docs/concepts", "concepts/clock.md", "[x](../scoring.md)"),
        ("results.ipynb", "docs", "get_started.md", "[x](tutorials/notebook.md)"),
        ("../docker/slurm.sh", "docs", "cluster.md", "x (`docker/slurm.sh`)"),
        ("https://a.org/b", "docs", "cluster.md", "[x](https://a.org/b)"),
        ("#here", "docs", "cluster.md", "[x](#here)"),
    ],
)
def test_links_fit_the_site(address, folder, page, expected):
    assert _link("[x]", address, folder, page) == expected


def test_every_concept_has_a_picture():
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]
    concepts = next(entry["Concepts"] for entry in nav if "Concepts" in entry)
    for page in pages_of(concepts):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert len(re.findall(r"!\[[^\]]+\]\((?:\.\./)?pictures/\w+\.svg\)", text)) == 1, page
    assert set(PAGES) <= {page.name for page in ROOT.glob("*.md")}


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_needs_no_network(tmp_path):
    """As `make docs` does, which CI runs."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"?(https?:)?//|<link[^>]*href=\"?https?:"
    )
    for page in pages:
        assert not loaded.search(page.read_text(encoding="utf-8")), page
