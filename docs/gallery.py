"""Writes docs/gallery.md and its pictures from results: `python -m docs.gallery DIR`.

DIR is the output folder of `chronograd reproduce --out DIR`. Findings that it does not have are
listed as not run yet.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PIL import Image

import findings
from scoring.plain import read_json

PAGE = Path(__file__).with_suffix(".md")
PICTURES = PAGE.with_suffix("")
WIDTH, COLORS = 1000, 128  # of the pictures
INTRODUCTION = """\
# Gallery of findings

Findings that a course on training algorithms teaches, each repeated by `chronograd reproduce NAME`
on one CPU core in at most four minutes; all of them take 12 minutes on two cores. Each module of
`findings/` states the claim, what was chosen before looking at results, and checks that can fail;
"not reproduced" means that a check failed at this size. `chronograd reproduce --out DIR` runs all
of them and writes the same figures, with all numbers, to `DIR/index.html`; `--quick` runs short
versions, whose verdicts do not count. The problems of the suite `classic`, with known minima, are
in [Workloads](workloads.md), the methods in [Submissions](submissions.md).
"""


def main() -> None:
    """Writes the page and its pictures."""
    folder = Path(sys.argv[1])
    places = {name: folder / name / "result.json" for name in findings.names()}
    results = {name: read_json(path) for name, path in places.items() if path.is_file()}
    if quick := [name for name, result in results.items() if result["quick"]]:
        sys.exit(f"run at full size first: {', '.join(quick)}")
    PICTURES.mkdir(exist_ok=True)
    for name in results:
        picture = Image.open(folder / name / "figure.png").convert("RGB")
        picture.thumbnail((WIDTH, 2 * WIDTH))
        picture.quantize(COLORS).save(PICTURES / f"{name}.png", optimize=True)
    PAGE.write_text(page(results), encoding="utf-8")


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page as Markdown: a table, then a section for each finding."""
    rows = [
        f"| [{name}](#{name}) | {_cell(result['claim'])} | {_outcome(result)} | "
        f"{result['seconds']:.0f} |"
        for name, result in results.items()
    ]
    others = [name for name in findings.names() if name not in results]
    rows += [
        f"| {name} | {_cell(findings.load(name)[0].claim)} | not run yet | |" for name in others
    ]
    table = ["| finding | claim | here | seconds |", "|---|---|---|--:|", *rows]
    sections = [_section(name, result) for name, result in results.items()]
    return "\n".join([INTRODUCTION, *table, "", *sections])


def _outcome(result: dict[str, Any]) -> str:
    return "reproduced" if result["reproduced"] else "not reproduced"


def _section(name: str, result: dict[str, Any]) -> str:
    checks = [
        f"- {'holds' if check['holds'] else '**does not hold**'}: {_cell(check['what'])}"
        for check in result["checks"]
    ]
    return "\n".join(
        [
            f"## {name}\n",
            f"{_cell(result['claim'])} ({_cell(result['source'])}). Here: {_outcome(result)}.\n",
            *checks,
            f"\n![Figure of the finding {name}](gallery/{name}.png)\n",
        ]
    )


def _cell(text: str) -> str:
    """Text in a cell of a table."""
    escaped = " ".join(text.split())
    for character in "\\`*_<|[]":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped.rstrip(".")


if __name__ == "__main__":
    main()
