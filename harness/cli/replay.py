"""The command replay: what pruning would have saved on finished results."""

from __future__ import annotations

from harness.cli.files import write_file
from harness.cli.options import console, say
from harness.cli.results import (
    DirectoryArgument,
    JsonFileOption,
    RulesOption,
    TreeTuningOption,
    read_results,
)


def replay(
    directory: DirectoryArgument,
    ruleset: RulesOption = None,
    tuning: TreeTuningOption = None,
    json_file: JsonFileOption = None,
) -> None:
    """What exact pruning would have saved on finished results, and proof that no score moves.

    Then what prediction would have saved, and what it would have done to the scores.

    Example: chronograd replay LOGS --ruleset algoperf-0.5
    """
    from scoring.plain import write_json
    from scoring.replay import replay as replayed
    from scoring.replay import replay_predictions, to_plain
    from scoring.report.fitted import Column, FittedTable

    results = read_results([directory], ruleset, tuning, None)
    logs, policies = replayed(results)
    policies += replay_predictions(results, logs)
    for warning in results.warnings:
        say(f"warning: {warning}", style="yellow")
    say(f"{logs.hours:,.1f} hours on the submission clock, {len(results.trials):,} trials")
    table = FittedTable(
        [
            Column("pruning"),
            Column("order"),
            Column("hours", right=True),
            Column("saved", right=True),
            Column("largest change", right=True),
            Column("moved by over 0.01", right=True, spare=1),
        ]
    )
    for policy in policies:
        change = "none" if policy.scores_unchanged else f"{policy.largest_change:.4f}"
        hours, saved = f"{policy.hours:,.1f}", f"{policy.saved_percent:.2f}%"
        moved = f"{policy.moved} of {len(results.submissions)} scores"
        table.add_row(policy.name, policy.order, hours, saved, change, moved)
    console.print(table)
    if json_file is not None:
        write_file(json_file, lambda path: write_json(path, to_plain(results, logs, policies)))
