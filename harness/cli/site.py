"""The command site: leaderboards as a static site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import say


def site(
    boards: Annotated[Path, typer.Argument(metavar="BOARDS.TOML", help="which boards there are")],
    out: Annotated[Path, typer.Option(help="the folder to write; its histories are continued")],
) -> None:
    """Builds a static site: all boards, each submission, histories, data. It needs no server.

    Example: chronograd site docs/site/boards.toml --out site
    """
    from scoring.site.boards import read_plan
    from scoring.site.build import build

    build(read_plan(boards), out, say)
    say(f"Written: {out / 'index.html'}")
