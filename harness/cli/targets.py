"""The command targets, which derives the targets of a shortened benchmark from logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.files import write_file
from harness.cli.options import JsonOption, TuningOption, console, print_json, say


def targets(
    from_logs: Annotated[
        Path, typer.Option(metavar="LOGS", help="logs of AlgoPerf, or a results tree")
    ],
    fraction: Annotated[
        float, typer.Option(help="share of the budget after which the benchmark ends", max=1.0)
    ] = 0.1,
    ruleset: Annotated[
        str | None, typer.Option(help="the rules of the logs; default: those of a results tree")
    ] = None,
    tuning: TuningOption = None,
    suite: Annotated[str | None, typer.Option(help="a suite of the ruleset")] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option("--workload", "-w", help="only this workload; repeatable"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="write a ruleset with these targets")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Finds targets for a shortened benchmark: what the median submission has at that point.

    Example:
      chronograd targets --from-logs LOGS --ruleset algoperf-0.5 --out sprint.toml
    """
    from scoring import rulesets
    from scoring.plain import to_plain
    from scoring.reading.read import read
    from scoring.report.fitted import Column, FittedTable
    from scoring.rulesets.text import ruleset_text
    from scoring.short_targets import short_ruleset, short_targets

    rules = None if ruleset is None else rulesets.load(ruleset)
    results = read([from_logs], rules, tuning, suite)
    found = short_targets(results, fraction, workload or ())
    if out is not None:
        text = ruleset_text(*short_ruleset(out.stem, results, found, fraction))
        write_file(out, lambda path: path.write_text(text, encoding="utf-8"))
    if as_json:
        print_json([{**to_plain(target), "hours": target.hours} for target in found])
        return
    table = FittedTable(
        [
            Column("workload"),
            Column("target"),
            Column("steps", right=True),
            Column("submissions", right=True, spare=1),
            Column("hours per trial", right=True),
        ]
    )
    for target in found:
        hours = f"{target.hours:.2f}"
        table.add_row(
            target.workload, str(target.goal), f"{target.steps:,}", str(target.submissions), hours
        )
    console.print(table)
    say(f"{sum(target.hours for target in found):.1f} hours per trial on the logs' machine.")
    if out is not None:
        say(f"Written: {out}")
