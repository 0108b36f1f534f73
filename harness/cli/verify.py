"""The command verify, which checks recorded evaluations by evaluating the weights again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import CheckpointsOption, DataDirOption, JsonOption, print_json, say

if TYPE_CHECKING:
    from scoring.reading.results import Results, Trial


def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="a results tree")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="maximum number of trials; deciding trials come first")
    ] = None,
    checkpoint_dir: CheckpointsOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluates again the weights of trials that reached their goals, in a clean process.

    That process never loads a submission. Exit code 1 if a result differs from
    the recorded one.

    Example: chronograd verify results/demo
    """
    from scoring.experiment import Experiment
    from scoring.reading.read import read
    from scoring.reading.verification import deciding
    from scoring.records import UserError

    Experiment.read(directory)  # logs of other harnesses are refused: they have no weights
    results = read([directory])
    reached = [trial for trial in results.trials if trial.status == "reached"]
    first = deciding(reached)
    asked = [*first, *(trial for trial in reached if trial not in first)][:trials]
    if not asked:
        raise UserError(f"{directory}: no trial has reached its goal; there is nothing to verify")
    outcomes = evaluate(directory, asked, checkpoint_dir, data_dir, quiet=as_json)
    if as_json:
        print_json({"trials": outcomes})
    count = {kind: sum(o["outcome"] == kind for o in outcomes) for kind in _MARKS}
    if not as_json:
        say(", ".join(f"{number} {kind}" for kind, number in count.items() if number))
    if count["contradicted"]:
        raise typer.Exit(1)
    if not count["confirmed"]:
        raise typer.Exit(2)


def evaluate_deciding(results: Results) -> None:
    """Evaluates the trials that decide a leaderboard and are not verified yet, per results tree."""
    from scoring.reading.verification import deciding
    from scoring.tree import EXPERIMENT_FILE

    trees: dict[str, list[Trial]] = {}
    for trial in deciding(results.trials):
        tree = results.submissions[trial.submission].tree
        if not trial.verified and (Path(tree) / EXPERIMENT_FILE).is_file():
            trees.setdefault(tree, []).append(trial)
    for tree, trials in trees.items():
        evaluate(Path(tree), trials, None, None, quiet=False)


_MARKS = {"confirmed": "", "contradicted": "red", "not verified": "yellow"}


def evaluate(
    directory: Path,
    trials: Sequence[Trial],
    checkpoint_dir: str | None,
    data_dir: Path | None,
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Evaluates trials of a results tree; records, prints and returns the outcomes."""
    import workloads
    from harness.commands.running import register_trusted
    from harness.commands.verify import evaluate_again
    from scoring.reading.verification import Verification

    register_trusted(directory, (trial.workload for trial in trials))
    outcomes = []
    where = None if data_dir is None else str(data_dir.resolve())
    folders = [trial.folder for trial in trials]
    for done in evaluate_again(directory, folders, workloads.get, checkpoint_dir, where):
        outcome, said = "not verified", done.reason
        if done.found is not None:
            record = Verification(
                global_step=done.global_step, recorded=done.recorded, found=done.found
            )
            record.write(done.folder)
            wrong = record.contradictions(done.spec)
            outcome = "contradicted" if wrong else "confirmed"
            said = "; ".join(wrong) or ", ".join(f"{n} {v:g}" for n, v in done.found.items())
        outcomes.append({"folder": str(done.folder), "outcome": outcome, "what": said})
        if not quiet:
            say(f"{outcome}: {done.folder}: {said}", style=_MARKS[outcome])
    return outcomes
