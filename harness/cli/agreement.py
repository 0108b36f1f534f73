"""`chronograd agreement`: how far one board predicts another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.files import write_file
from harness.cli.options import console, say
from harness.cli.result_options import BootstrapSeedOption

if TYPE_CHECKING:
    from scoring.reading.results import Results


def agreement(
    first: Annotated[Path, typer.Argument(metavar="BOARD", help="results tree or logs to judge")],
    reference: Annotated[
        Path,
        typer.Argument(metavar="REFERENCE", help="results tree or logs that it should predict"),
    ],
    ruleset: Annotated[
        list[str] | None,
        typer.Option(help="ruleset of logs; twice if the boards are logs with different ones"),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NAME,...", help="names of BOARD with those that REFERENCE has for them"
        ),
    ] = None,
    fraction: Annotated[
        float,
        typer.Option(help="cut the runs of BOARD at this share of the budget", max=1.0),
    ] = 1.0,
    seed: BootstrapSeedOption = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="write all results as JSON")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the figure (.png, .pdf or .svg)")
    ] = None,
) -> None:
    """Measures how far one board predicts another, between a floor and a ceiling.

    Examples:
      chronograd agreement OUT LOGS --ruleset algoperf-0.5 --alias nadamw=baseline
      chronograd agreement LOGS LOGS --ruleset algoperf-0.5 --fraction 0.05
    """
    from scoring.agreement import agreement as measured
    from scoring.plain import write_json
    from scoring.records import UserError
    from scoring.report.agreement import (
        agreement_table,
        noise_table,
        remark_lines,
        save_figure,
        to_plain,
    )

    if not 0 < fraction <= 1:
        raise UserError(f"--fraction {fraction:g}: must be above 0 and at most 1")
    if plot is not None and plot.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--plot {plot}: must end with .png, .pdf or .svg")
    aliases = _aliases(alias or [])
    boards = _read(first, reference, ruleset or [])
    found = measured(*boards, aliases, fraction, seed)
    if json_file is not None:
        write_file(json_file, lambda path: write_json(path, to_plain(found)))
    if plot is not None:
        write_file(plot, lambda path: save_figure(found, path))
    console.print(agreement_table(found))
    console.print(noise_table(found))
    for line in remark_lines(found):
        say(line)


def _aliases(given: list[str]) -> dict[str, str]:
    """Parses NAME=NAME,... into names of the reference by those of the first board."""
    from scoring.records import UserError

    aliases: dict[str, str] = {}
    for part in ",".join(given).split(",") if given else []:
        name, equals, other = (text.strip() for text in part.partition("="))
        if not (name and equals and other):
            raise UserError(f"--alias {part.strip()!r}: give NAME=NAME, such as nadamw=baseline")
        if name in aliases:
            raise UserError(f"--alias: {name} is given twice")
        aliases[name] = other
    return aliases


def _read(first: Path, reference: Path, given: list[str]) -> tuple[Results, Results]:
    """Reads both boards; those that do not record their rules take them from --ruleset."""
    from scoring import rulesets
    from scoring.reading.read import read
    from scoring.records import UserError
    from scoring.tree import EXPERIMENT_FILE

    if len(given) > 2:
        raise UserError(f"--ruleset is given {len(given)} times; give one per board")
    logs = [path for path in (first, reference) if not (path / EXPERIMENT_FILE).exists()]
    names = given if len(given) == len(logs) else given[:1] * len(logs)
    rules = {path: rulesets.load(name) for path, name in zip(logs, names, strict=False)}
    if first.resolve() == reference.resolve():
        board = read([first], rules.get(first))
        return board, board
    return read([first], rules.get(first)), read([reference], rules.get(reference))
