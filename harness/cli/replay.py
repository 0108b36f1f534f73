"""The command replay, which computes what pruning would have saved on finished results."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.files import write_file
from harness.cli.fixed_step import fixed_step_board
from harness.cli.options import console, say
from harness.cli.replay_studies import replay_studies
from harness.cli.result_options import (
    DirectoryArgument,
    JsonFileOption,
    PublishedOption,
    RulesOption,
    TreeTuningOption,
)
from harness.cli.results import read_results
from scoring.records import Decide, Status

if TYPE_CHECKING:
    from scoring.calibration import Calibration
    from scoring.fixed_step import FixedStepBoard
    from scoring.reading.results import Results
    from scoring.report.fitted import FittedTable


class Studies(StrEnum):
    """The number of studies."""

    AUTO = "auto"


_SCORED = " (here the fewest steps to the target of any entry over its own, medians of its runs)"
OtherBoardOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="another board; each board is also predicted from the other"),
]
MaxChangeOption = Annotated[
    float,
    typer.Option(min=0, max=0.5, help="prediction: the change of a score that the risk is of"),
]
AutoStudiesOption = Annotated[
    Studies | None, typer.Option(help="replay the adding of studies instead of pruning")
]
DecideOption = Annotated[
    Decide, typer.Option(help="--studies auto: decide all pairs, or the first place")
]
ConfidenceOption = Annotated[
    float,
    typer.Option(min=0, max=1, help="--studies auto: one minus the probability of any error"),
]


def replay(
    directory: DirectoryArgument,
    ruleset: RulesOption = None,
    tuning: TreeTuningOption = None,
    other_board: OtherBoardOption = None,
    max_change: MaxChangeOption = 0.01,
    published: PublishedOption = None,
    studies: AutoStudiesOption = None,
    decide: DecideOption = Decide.ALL,
    confidence: ConfidenceOption = 0.95,
    json_file: JsonFileOption = None,
) -> None:
    """Shows what exact pruning would have saved, and proves that no score changes.

    Also shows what prediction would have saved, how it would have changed the
    scores, and how much it changes scores on results that it was not fitted to.
    For a board at a fixed step: how well mid-run losses rank entries, and what
    stopping runs on a prediction would do. With --studies auto: which pairs of
    submissions a sweep with that option would have decided, after how many hours.

    Examples:
      chronograd replay LOGS --ruleset algoperf-0.5
      chronograd replay LOGS --ruleset algoperf-0.5 --studies auto
    """
    from scoring.names import counted
    from scoring.plain import write_json
    from scoring.replay import replay as replayed
    from scoring.replay import replay_predictions, to_plain
    from scoring.report.fitted import Column, FittedTable
    from scoring.report.terminal import format_number

    tested = fixed_step_board([directory], ruleset, tuning, published=published)
    if tested is not None:
        _replay_runs(tested, max_change, json_file)
        return
    results = read_results([directory], ruleset, tuning, None)
    if studies is not None:
        replay_studies(results, decide, confidence, json_file)
        return
    logs, policies = replayed(results)
    policies += replay_predictions(results, logs, max_change)
    boards = {str(directory): results}
    if other_board is not None:
        boards[str(other_board)] = read_results([other_board], ruleset, tuning, None)
    calibrated = _calibrations(boards, max_change)
    _say_warnings(results)
    trials = counted(len(results.trials), "trial")
    say(f"{format_number(logs.hours)} hours on the submission clock, {trials}")
    table = FittedTable(
        [
            Column("pruning"),
            Column("order"),
            Column("hours", right=True),
            Column("saved", right=True),
            Column("largest change", right=True),
            Column(f"moved by over {max_change:g}", right=True, spare=1),
        ]
    )
    for policy in policies:
        change = "none" if policy.scores_unchanged else f"{policy.largest_change:.4f}"
        hours, saved = format_number(policy.hours), f"{policy.saved_percent:.2f}%"
        moved = f"{policy.moved} of {len(results.submissions)} scores"
        table.add_row(policy.name, policy.order, hours, saved, change, moved)
    console.print(table)
    console.print(_calibration_table(calibrated, max_change))
    if json_file is not None:
        data = to_plain(results, logs, policies) | {"calibration": calibrated}
        write_file(json_file, lambda path: write_json(path, data))


def _say_warnings(results: Results) -> None:
    """Prints what is damaged or missing, and that pruned trials have no known cost."""
    from scoring.names import counted

    for warning in results.warnings:
        say(f"warning: {warning}", style="yellow")
    if pruned := sum(trial.status == Status.PRUNED for trial in results.trials):
        say(
            f"warning: {counted(pruned, 'pruned trial')} in these results: what pruned trials "
            "would have cost is not known, so savings are shown without it (--pruning off runs "
            "every trial to its end)",
            style="yellow",
        )


def _replay_runs(board: FixedStepBoard, max_change: float, json_file: Path | None) -> None:
    """Shows what mid-run losses predict of a board at a fixed step."""
    from scoring.loss_prediction import calibrations, in_words, rankings
    from scoring.plain import write_json
    from scoring.report.fixed_step import rankings_table

    found, calibrated = rankings(board), calibrations(board, max_change)
    for warning in board.runs.warnings:
        say(f"warning: {warning}", style="yellow")
    console.print(rankings_table(found))
    if sentence := in_words(found):
        say(sentence, style="yellow")
    console.print(_calibration_table({"": calibrated}, max_change, "steps", _SCORED))
    if json_file is not None:
        data = {"ruleset": board.runs.ruleset.name, "rankings": found, "calibration": calibrated}
        write_file(json_file, lambda path: write_json(path, data))


def _calibrations(boards: dict[str, Results], max_change: float) -> dict[str, list[Calibration]]:
    """Returns, by board, the errors of predictions from its other submissions and other boards."""
    from scoring.calibration import Board, leaving_out_boards, leaving_out_submissions
    from scoring.replay import RISKS

    read = {name: Board.of(results) for name, results in boards.items()}
    return {
        name: [
            *(leaving_out_submissions(board, risk, max_change) for risk in RISKS),
            *(
                leaving_out_boards(board, other, from_, risk, max_change)
                for from_, other in read.items()
                if from_ != name
                for risk in RISKS
            ),
        ]
        for name, board in read.items()
    }


def _calibration_table(
    calibrated: dict[str, list[Calibration]],
    max_change: float,
    unit: str = "hours",
    scored: str = "",
) -> FittedTable:
    from scoring.report.fitted import Column, FittedTable

    counted = f"moved by over {max_change:g}"
    names = ("risk", counted, "expected change", "worst change", "saved")
    several = len(calibrated) > 1
    table = FittedTable(
        [
            *([Column("board"), Column("limits from")] if several else []),
            *(Column(name, right=True) for name in names),
        ],
        title="prediction on what it was not fitted to",
        caption=(
            "each submission pruned alone, by limits that come from the others; the risk is the "
            f"requested maximum of the share that moves a score by over {max_change:g}; expected "
            f"and worst change of any score{scored}; saved: of its {unit} in full"
        ),
    )
    for board, found in calibrated.items():
        for c in found:
            table.add_row(
                *([board, c.judged_by] if several else []),
                f"{c.risk:g}", f"{100 * c.moved:.0f}%", f"{c.expected_change:.4f}",
                f"{c.worst_change:.4f}", f"{c.saved_percent:.1f}%",
            )  # fmt: skip
    return table
