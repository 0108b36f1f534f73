"""The leaderboard as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from scoring.cells import Cell
from scoring.escaping import markdown, spreadsheet_cell
from scoring.hyperparameters import Winner, winners
from scoring.leaderboard import Leaderboard, Standing
from scoring.plain import to_plain
from scoring.profiles import Floats
from scoring.significance import PairTest
from scoring.speedup import Speedup


def to_json(board: Leaderboard, speedups: dict[str, Speedup] | None = None) -> dict[str, Any]:
    """The leaderboard as plain data; null is a miss. `plain.write_json` adds the schema."""
    won = winners(board)
    scope, uncertainty, reference = board.results.scope, board.uncertainty, board.reference
    return {
        "ruleset": scope.ruleset.name,
        "method": board.method.name,
        "tuning": scope.tuning,
        "clock": scope.clock,
        "charged": board.results.charged,
        "by": scope.by,
        "relaxed": scope.relaxed,
        "studies": scope.studies,
        "trials": scope.trials,
        "r_max": scope.ruleset.r_max,
        "workloads": scope.scored,
        "held_out": scope.held_out,
        "submissions": [_standing(board, standing, speedups, won) for standing in board.standings],
        "uncertainty": {
            name: getattr(uncertainty, name) for name in ("resampled", "resamples", "seed")
        },
        "pairs": [pair_row(test) for test in board.pairs],
        "reference": reference and {"made": reference.made, "hash": reference.hash},
        "differences": board.differences,
        "integrity": board.results.findings,
        "warnings": board.warnings,
        "remarks": board.remarks,
    }


def _standing(
    board: Leaderboard,
    standing: Standing,
    speedups: dict[str, Speedup] | None,
    won: dict[tuple[str, str], Winner],
) -> dict[str, Any]:
    """One submission. Times and ratios are for the scored workloads, `after_rule` for all."""
    scope, stages = board.results.scope, board.stages
    s = board.studies.submissions.index(standing.name)
    scored = {name: standing.cells[name] for name in scope.scored}
    held_out = {name: standing.cells[name] for name in scope.held_out}
    faster = speedups and speedups[standing.name]
    return {
        "name": standing.name,
        "score": standing.score,
        "score_low": standing.low,
        "score_high": standing.high,
        "score_sampling": list(standing.sampling),
        "rank": standing.rank,
        "rank_probabilities": standing.ranks,
        "rank_probabilities_low": standing.ranks_low,
        "rank_probabilities_high": standing.ranks_high,
        "beats": standing.beats,
        "beats_low": standing.beats_low,
        "beats_high": standing.beats_high,
        "reference_score": standing.reference_score,
        "speedup": faster and {"ratio": faster.ratio, "official_ratio": _finite(faster.official)},
        "times": {name: _finite(cell.seconds) for name, cell in scored.items()},
        "times_at_least": {name: _finite(cell.at_least) for name, cell in scored.items()},
        "ratios": {name: _finite(cell.ratio) for name, cell in scored.items()},
        "steps": {name: _finite(cell.steps) for name, cell in scored.items()},
        "training_work": {name: _finite(cell.work) for name, cell in scored.items()},
        "held_out_times": {name: _finite(cell.seconds) for name, cell in held_out.items()},
        "studies": {name: cell.studies for name, cell in standing.cells.items()},
        "studies_reached": {name: cell.reached for name, cell in standing.cells.items()},
        "not_counted": {n: cell.reason for n, cell in standing.cells.items() if cell.reason},
        "after_rule": {
            "median_over_studies": _row(scope.workloads, stages.median[s]),
            "variant_needs_workload": _row(scope.workloads, stages.entered[s]),
            "within_r_max": _row(scope.workloads, stages.capped[s]),
            "workload_needs_variant": _row(scope.scored, stages.counted[s]),
        },
        "hours": standing.hours,
        "trials": standing.trials,
        "winning_trials": {
            name: _winner(won[standing.name, name])
            for name in scope.workloads
            if (standing.name, name) in won
        },
    }


def pair_row(test: PairTest) -> dict[str, Any]:
    """The test of two submissions as plain data: an object of JSON, or a row of a table."""
    first, second = test.names
    return {
        "first": first,
        "second": second,
        "pairs": test.pairs,
        "ratio": test.ratio,
        "p_low": test.p[0],
        "p_high": test.p[1],
        "adjusted_low": test.adjusted[0],
        "adjusted_high": test.adjusted[1],
        "faster": test.faster or None,
        "more_studies": test.more_studies,
    }


def _winner(winner: Winner) -> dict[str, Any]:
    """The fastest trial on a workload: how it ran, and its hyperparameters."""
    trial = winner.trial
    ran = {key: value for key, value in to_plain(trial.run).items() if key != "proof"}
    numbers = {"study": trial.study, "trial": trial.trial, "status": trial.status}
    return {
        **numbers,
        **ran,
        "cpu_share": trial.cpu_share,
        "hyperparameters": to_plain(winner.point),
        "on_the_edge": winner.edges,
    }


def _row(names: Any, times: Floats) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in zip(names, times.tolist(), strict=True)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def table(board: Leaderboard) -> tuple[list[str], list[list[Any]]]:
    """A row per submission, with several columns per workload; inf is a miss.

    For a pruned time `seconds` is inf and `at_least` its lower bound. A workload's columns from
    `trial` on describe the submission's fastest trial there.

    Returns:
        The names of the columns, and the rows.
    """
    scope, won = board.results.scope, winners(board)
    fixed = ("rank", "name", "score", "low", "high", "reference_score", "hours")
    outcomes = sorted({key for standing in board.standings for key in standing.trials})
    facts = {
        (standing.name, name): _facts(cell, won.get((standing.name, name)))
        for standing in board.standings
        for name, cell in standing.cells.items()
    }
    columns = {
        name: [*dict.fromkeys(key for s in board.standings for key in facts[s.name, name])]
        for name in scope.workloads
    }
    header = [
        *("submission" if name == "name" else name for name in fixed),
        *(f"trials/{key}" for key in outcomes),
        *(f"{name}/{column}" for name in scope.workloads for column in columns[name]),
    ]
    rows = [
        [
            *(getattr(standing, name) for name in fixed),
            *(standing.trials.get(key, 0) for key in outcomes),
            *(
                facts[standing.name, name].get(column)
                for name in scope.workloads
                for column in columns[name]
            ),
        ]
        for standing in board.standings
    ]
    return header, rows


def to_csv(board: Leaderboard) -> str:
    """The `table` as CSV; an apostrophe precedes text that is a formula to spreadsheets (=A1)."""
    return _as_csv(*table(board))


def pairs_csv(board: Leaderboard) -> str:
    """The tests of every two submissions as CSV."""
    rows = [pair_row(test) for test in board.pairs]
    return _as_csv([*rows[0]], [[*row.values()] for row in rows]) if rows else ""


def _as_csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(
        [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row]
        for row in [header, *rows]
    )
    return text.getvalue()


def _facts(cell: Cell, winner: Winner | None) -> dict[str, Any]:
    """A submission's values on a workload, by column of the CSV."""
    names = ("seconds", "at_least", "steps", "work", "ratio", "reason")
    facts = {name: getattr(cell, name) for name in names}
    ran = ("seed", "batch_size", "attempts", "cpu_seconds", "host")
    if winner is None:
        return {**facts, **dict.fromkeys(("trial", "status", *ran))}
    trial = winner.trial
    facts |= {"trial": f"study_{trial.study}/trial_{trial.trial}", "status": trial.status}
    facts |= {name: getattr(trial.run, name) for name in ran}
    return facts | {
        f"hparams.{name}": value if isinstance(value, (str, int, float)) else json.dumps(value)
        for name, value in sorted(winner.point.items())
    }


def to_markdown(board: Leaderboard) -> str:
    """A table for a README: scores, intervals if studies were repeated, times and ratios."""
    scope = board.results.scope
    frozen = board.reference is not None
    header = ["rank", "submission", "score", *["95% interval"] * board.repeated]
    header += ["frozen score"] * frozen + ["hours", *scope.scored]
    lines = [header, [":--" if name == "submission" else "--:" for name in header]]
    for standing in board.standings:
        reference = (
            [f"{standing.reference_score:.4f}"] if standing.reference_score is not None else []
        )
        cells = [_markdown_cell(standing.cells[name]) for name in scope.scored]
        interval = [f"{standing.low:.3f}–{standing.high:.3f}"] * board.repeated
        lines.append(
            [
                str(standing.rank),
                standing.name,
                f"{standing.score:.4f}",
                *interval,
                *reference,
                f"{standing.hours:,.4g}",
                *cells,
            ]
        )
    table = "\n".join("| " + " | ".join(map(markdown, line)) + " |" for line in lines)
    note = (
        f"Ruleset {scope.ruleset.name}, {scope.tuning} tuning, method {board.method.name}"
        f"{', ' * bool(scope.asked)}{scope.asked}. {scope.by.capitalize()} to target, median over "
        f"{scope.repeats}, and ratio to the fastest; – does not count; > stopped early, since it "
        "could not count."
    )
    return f"{table}\n\n{markdown(note)}\n"


def _markdown_cell(cell: Cell) -> str:
    if cell.pruned:
        return f"> {cell.at_least:,.6g}"
    if not math.isfinite(cell.seconds):
        return "–"
    ratio = f"{cell.ratio:.2f}×" if math.isfinite(cell.ratio) else "–"
    return f"{cell.seconds:,.6g} ({ratio})"
