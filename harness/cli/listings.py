"""The commands that list what is available: workloads, submissions, rulesets."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from harness.cli.options import JsonOption, console, print_json, say


def workloads(as_json: JsonOption = False) -> None:
    """Lists the workloads."""
    import workloads as library
    from scoring.plain import to_plain
    from scoring.report.fitted import Column, FittedTable

    found = {name: library.get(name) for name in library.names()}
    if as_json:
        facts = ("summary", "suites", "budget_steps", "max_allowed_runtime_sec", "step_hint")
        print_json(
            {
                name: {"goal": to_plain(w.goal), "target_remark": w.target_remark}
                | {"loss_type": w.loss_type.name}
                | {fact: getattr(w, fact) for fact in facts}
                for name, w in found.items()
            }
        )
        return
    table = FittedTable(
        [
            Column("workload"),
            Column("task", spare=3, prose=True),
            Column("target", spare=1, prose=True),
            Column("budget", spare=2),
            Column("suites", spare=4),
        ]
    )
    for name, w in found.items():
        budget = (
            f"{w.max_allowed_runtime_sec:g} s"
            if w.budget_steps is None
            else (f"{w.budget_steps:,} baseline steps")
        )
        target = f"{w.goal} ({w.target_remark})" if w.target_remark else str(w.goal)
        table.add_row(name, w.summary, target, budget, ", ".join(w.suites))
    console.print(table)


def submissions(as_json: JsonOption = False) -> None:
    """Lists the submissions, with bytes of optimizer state per parameter."""
    from harness.submission.files import available, library
    from scoring.report.fitted import Column, FittedTable

    found = {
        name: json.loads((library() / name / "submission_info.json").read_text(encoding="utf-8"))
        for name in available()
    }
    if as_json:
        print_json(found)
        return
    table = FittedTable(
        [
            Column("submission"),
            Column("title", spare=1, prose=True),
            Column("bytes/parameter", right=True, spare=2),
            Column("paper", spare=3, prose=True),
        ],
        caption="bytes/parameter: size of the optimizer state; --json prints everything",
    )
    for name, info in found.items():
        size = info["state_bytes_per_parameter"]
        state = "by examples" if size is None else f"{size:.2f}"
        table.add_row(name, info["title"], state, info["paper"])
    console.print(table)


def rulesets(
    ruleset: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="the one to print, or a TOML file")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Lists the rulesets, or prints one as TOML, with its comments.

    Example: chronograd rulesets demo > mine.toml
    """
    from scoring.files import read_text
    from scoring.report.fitted import Column, FittedTable
    from scoring.rulesets import load, names, path_of

    found = {name: load(name) for name in ([ruleset] if ruleset else names())}
    if as_json:
        plain = {name: rules.model_dump(mode="json") for name, rules in found.items()}
        print_json(plain[ruleset] if ruleset else plain)
        return
    if ruleset:
        say(read_text(path_of(ruleset)).rstrip())
        return
    heads = ("studies", "trials", "limit of profiles", "workloads")
    table = FittedTable([Column("ruleset"), *(Column(head, right=True) for head in heads)])
    for name, rules in found.items():
        scored = str(len(rules.scored)) if rules.scored else "those planned"
        row = (str(rules.studies), str(rules.trials), f"{rules.r_max:g}", scored)
        table.add_row(name, *row)
    console.print(table)
