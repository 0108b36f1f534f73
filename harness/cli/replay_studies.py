"""What `replay --studies auto` prints: what would have been decided after how many studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.files import write_file
from harness.cli.options import console, say
from scoring.records import Decide

if TYPE_CHECKING:
    from scoring.reading.results import Results


def replay_studies(
    results: Results, decide: Decide, confidence: float, json_file: Path | None
) -> None:
    """Replays `--studies auto` on finished results, and prints what it decides."""
    from scoring.plain import to_plain, write_json
    from scoring.report.fitted import Column, FittedTable
    from scoring.sequential import Question
    from scoring.sequential_replay import replay_studies as replayed

    most = results.scope.studies
    question = Question(decide=decide, confidence=confidence, max_studies=most)
    found = replayed(results, question)
    for warning in results.warnings:
        say(f"warning: {warning}", style="yellow")
    table = FittedTable(
        [
            Column("submissions", prose=True),
            Column("faster"),
            Column("p", right=True),
            Column("after hours", right=True),
            Column("alone: faster"),
            Column("studies", right=True),
            Column("saved", right=True),
        ],
        caption=(
            "faster: in a sweep of all submissions, after so many of its hours; alone: in a sweep "
            "of these two, with its mean number of studies and the hours saved"
        ),
    )
    for pair in found.pairs:
        saved = 1 - pair.alone_hours / pair.alone_most if pair.alone_most else 0.0
        table.add_row(
            f"{pair.first}, {pair.second}", pair.faster or "–", f"{pair.p:.2g}",
            "–" if pair.hours is None else f"{pair.hours:,.0f}",
            pair.alone_faster or "–", f"{pair.alone_studies:.1f}", f"{100 * saved:.0f}%",
        )  # fmt: skip
    console.print(table)
    count = len(found.pairs)
    alone = [pair for pair in found.pairs if pair.alone_faster]
    share = _share(sum(p.alone_hours for p in found.pairs), sum(p.alone_most for p in found.pairs))
    say(
        f"All together (--decide {decide}, at most {most} studies): "
        f"{sum(bool(pair.faster) for pair in found.pairs)} of {count} pairs decided, "
        f"{found.settled} need no more studies; {found.hours:,.0f} of {found.most:,.0f} hours, "
        f"{_share(found.hours, found.most)} saved"
    )
    say(f"Each two alone: {len(alone)} of {count} decided, {share} of the hours saved")
    if json_file is not None:
        write_file(json_file, lambda path: write_json(path, to_plain(found)))


def _share(hours: float, most: float) -> str:
    return f"{100 * (1 - hours / most):.1f}%" if most else "0%"
