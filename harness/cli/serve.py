"""The command serve, which serves the leaderboard's page while its sweep runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import say


def serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="a results tree")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="port; 0 chooses a free one")] = 8000,
    host: Annotated[str, typer.Option(help="the address to listen on")] = "127.0.0.1",
    title: Annotated[
        str, typer.Option(help="title of the page; default: Leaderboard: RULESET")
    ] = "",
) -> None:
    """Serves the page of a results tree on this machine, updated while the sweep runs.

    Example: chronograd serve results/demo
    """
    from harness.commands.serve import LivePage, make_server

    server = make_server(LivePage(directory, title), host, port)
    shown = f"[{host}]" if ":" in host else host
    say(f"Serving {directory} at http://{shown}:{server.server_port}/ until Ctrl-C")
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
