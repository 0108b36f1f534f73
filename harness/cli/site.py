"""The command site, which builds a static site of leaderboards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import say


def site(
    boards: Annotated[
        Path, typer.Argument(metavar="BOARDS.TOML", help="the file that lists the leaderboards")
    ],
    out: Annotated[Path, typer.Option(help="output folder; existing histories are continued")],
) -> None:
    """Builds a static site of several leaderboards, with submissions, histories and data.

    Example: chronograd site docs/site/boards.toml --out site
    """
    from scoring.site.boards import read_plan
    from scoring.site.build import build

    build(read_plan(boards), out, say)
    say(f"Written: {out / 'index.html'}")
