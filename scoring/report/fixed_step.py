"""A board at a fixed step as terminal tables, JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from scoring.escaping import markdown, spreadsheet_cell
from scoring.fixed_step import FixedStepBoard
from scoring.loss_prediction import Ranking
from scoring.loss_tests import LossTest, Result
from scoring.noise import p_in_words
from scoring.report.fitted import Column, FittedTable
from scoring.verdicts import pair_verdict, verdict

COLUMNS = (
    "rank", "entry", "steps", "mean_loss", "runs", "deviation", "statistic", "p", "valid",
    "valid_from", "more_runs", "verdict",
)  # fmt: skip


def results_table(board: FixedStepBoard) -> FittedTable:
    """The entries with their tests."""
    runs, noise = board.runs, board.tester.noise
    how = f"sigma {noise.sigma:.4g}" + (f", pooled ({noise.df} df)" if noise.df else "")
    table = FittedTable(
        [
            Column("rank", right=True, spare=1),
            Column("entry"),
            Column("steps", right=True),
            Column("mean loss", right=True),
            Column("runs", right=True),
            Column("deviation", right=True, spare=4),
            Column("p", right=True, spare=2),
            Column("valid from", right=True, spare=3),
            Column("verdict", prose=True),
        ],
        title=f"{runs.ruleset.name}: {runs.workload}, {runs.goal} at a fixed step, {how}",
        caption="valid from: the smallest stopping step at which the entry would pass its test",
    )
    for result in board.results:
        table.add_row(*_cells(result), verdict(board, result))
    return table


def _cells(result: Result) -> list[str]:
    return [
        str(result.rank or "–"),
        result.name,
        f"{result.steps:,}" if result.steps is not None else "–",
        f"{result.mean:.5f}" if math.isfinite(result.mean) else "–",
        str(len(result.losses) or len(result.entry.runs)),
        f"{result.deviation:.5f}" if math.isfinite(result.deviation) else "–",
        p_in_words(result.test.p) if result.test else "–",
        f"{result.valid_from:,}" if result.valid_from is not None else "–",
    ]


def published_table(board: FixedStepBoard) -> FittedTable:
    """The published results that the runs do not give."""
    same = sum(not difference for difference in board.published.values())
    table = FittedTable(
        [Column("result"), Column("what differs", prose=True)],
        title=f"{same} of {len(board.published)} published results are those of the runs",
    )
    for name, difference in board.published.items():
        if difference:
            table.add_row(name, difference)
    return table


def rankings_table(found: list[Ranking]) -> FittedTable:
    """How well the losses at each step rank entries."""
    table = FittedTable(
        [
            Column(name, right=True)
            for name in ("step", "tau", "pairs ordered alike", "entries", "tau by luck")
        ],
        title="mean loss at a step against the stopping step",
        caption=(
            "tau: Kendall's, from -1 to 1; by luck: its standard deviation if losses said nothing"
        ),
    )
    for r in found:
        table.add_row(
            f"{r.step:,}", f"{r.tau:+.2f}", f"{r.alike:.0%}", str(r.entries), f"±{r.by_luck:.2f}"
        )
    return table


def pair_lines(board: FixedStepBoard, first: str, second: str) -> list[str]:
    """Both directions of the test of a pair, with the numbers that they follow from."""
    lines = []
    for name in (first, second):
        result = board.result(name)
        steps = "not tested" if result.steps is None else f"{result.steps:,} steps"
        lines.append(
            f"{name}: {steps}, mean loss {result.mean:.5f}, {len(result.losses)} runs; "
            f"{verdict(board, result)}"
        )
    for a, b in ((first, second), (second, first)):
        test = board.pairs.get((a, b))
        numbers = (
            f" (statistic {test.statistic:.5f}, threshold {board.tester.threshold:.5g})"
            if test
            else ""
        )
        lines.append(f"{a} is {pair_verdict(board, a, b)}{numbers}")
    return lines


def to_json(board: FixedStepBoard) -> dict[str, Any]:
    """The board as plain data; `plain.write_json` adds the schema."""
    runs, rules = board.runs, board.runs.rules
    return {
        "board": "fixed_step",
        "ruleset": runs.ruleset.name,
        "workload": runs.workload,
        "goal": runs.goal,
        "sigma": board.tester.noise.sigma,
        "degrees_of_freedom": board.tester.noise.df,
        "pooled_sigma": board.pooled and board.pooled.sigma,
        "pooled_degrees_of_freedom": board.pooled and board.pooled.df,
        "p": rules.p,
        "threshold": board.tester.threshold,
        "loss_per_100_steps": rules.loss_per_100_steps,
        "entries": [entry_json(board, result) for result in board.results],
        "published": board.published,
        "integrity": runs.findings,
        "warnings": board.warnings,
        "remarks": board.remarks,
    }


def entry_json(board: FixedStepBoard, result: Result) -> dict[str, Any]:
    """One entry as plain data, with its test against each other entry."""
    return {
        **row(board, result),
        "losses": [
            {"run": run.name, "loss": loss, "file": run.file, "line": run.lines[place]}
            for run, loss in zip(result.entry.runs, result.losses, strict=True)
            if (place := run.at(result.steps or 0)) is not None
        ]
        if result.losses
        else [],
        "against": {
            other.name: _test_json(board.pairs[result.name, other.name])
            | {"verdict": pair_verdict(board, result.name, other.name)}
            for other in board.results
            if (result.name, other.name) in board.pairs
        },
    }


def _test_json(test: LossTest) -> dict[str, Any]:
    return {
        "statistic": test.statistic,
        "p": test.p,
        "better": test.passed,
        "more_runs": test.more_runs,
    }


def row(board: FixedStepBoard, result: Result) -> dict[str, Any]:
    """The values of an entry by column of the CSV."""
    test = result.test
    known = math.isfinite(result.deviation)
    return {
        "rank": result.rank,
        "entry": result.name,
        "steps": result.steps,
        "mean_loss": None if math.isnan(result.mean) else result.mean,
        "runs": len(result.losses) or len(result.entry.runs),
        "deviation": result.deviation if known else None,
        "statistic": test and test.statistic,
        "p": test and test.p,
        "valid": result.valid,
        "valid_from": result.valid_from,
        "more_runs": test and test.more_runs,
        "verdict": verdict(board, result),
    }


def to_csv(board: FixedStepBoard) -> str:
    """A row per entry; an apostrophe precedes text that is a formula to spreadsheets."""
    text = io.StringIO()
    rows = [row(board, result).values() for result in board.results]
    csv.writer(text).writerows(
        [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in line]
        for line in [COLUMNS, *rows]
    )
    return text.getvalue()


def to_markdown(board: FixedStepBoard) -> str:
    """A table for a README."""
    header = [column.name for column in results_table(board).columns]
    lines = [header, [":--" if name in ("entry", "verdict") else "--:" for name in header]]
    lines += [[*_cells(result), verdict(board, result)] for result in board.results]
    return "".join("| " + " | ".join(map(markdown, line)) + " |\n" for line in lines)
