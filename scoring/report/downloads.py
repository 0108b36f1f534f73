"""The downloads of a page: the board as CSV and JSON, and its trials, without private names."""

from __future__ import annotations

import csv
import io
import json

from scoring.continuous import Continuous
from scoring.leaderboard import Leaderboard
from scoring.plain import SCHEMA, to_plain
from scoring.report.complete import to_complete_json
from scoring.report.parquet import as_csv, trials_table
from scoring.report.public import Public
from scoring.report.tables import pairs_csv, to_csv


def downloads(
    board: Leaderboard, public: Public, beside: Continuous | None = None
) -> dict[str, str]:
    """The text of each file, by name.

    Args:
        board: The leaderboard.
        public: What may be shown.
        beside: Scores beside the target; None to compute them over the ruleset's baseline.
    """
    data = {"schema": SCHEMA, **public.plain(to_plain(to_complete_json(board, beside=beside)))}
    return {
        "leaderboard.csv": _public(to_csv(board), public),
        **({"pairs.csv": _public(pairs_csv(board), public)} if board.pairs else {}),
        "leaderboard.json": json.dumps(data, indent=1, allow_nan=False) + "\n",
        "trials.csv": _public(as_csv(trials_table(board.results)).decode(), public),
    }


def _public(text: str, public: Public) -> str:
    """Removes folders and names of machines from a CSV."""
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    hosts = {n for n, name in enumerate(header) if name == "host" or name.endswith("/host")}
    written = io.StringIO()
    csv.writer(written).writerows(
        [header]
        + [
            [public.host(cell) if n in hosts else public.text(cell) for n, cell in enumerate(row)]
            for row in rows
        ]
    )
    return written.getvalue()
