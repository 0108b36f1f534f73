"""The command landscape, which draws the loss around the weights of a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import CheckpointsOption, DataDirOption, say


def landscape(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="a results tree")],
    trial: Annotated[
        str, typer.Argument(help="SUBMISSION/study_K/WORKLOAD/trial_N, or the end of it")
    ],
    out: Annotated[
        Path | None, typer.Option(help="output folder; default: DIR/landscape/TRIAL")
    ] = None,
    examples: Annotated[
        int, typer.Option(min=1, help="training examples that the loss is a mean of")
    ] = 256,
    points: Annotated[int, typer.Option(min=3, help="points on each side of the plane")] = 25,
    seed: Annotated[int, typer.Option(min=0, help="seed of the random directions")] = 0,
    checkpoint_dir: CheckpointsOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Draws the loss along random lines and on a plane around the last weights of a trial.

    Also computes the largest eigenvalues of the Hessian. Trials that reach their
    goals keep their weights, others with --keep-checkpoint. Needs no submission.

    Example: chronograd landscape results/demo nadamw/study_0/digits/trial_1
    """
    import workloads
    from harness.commands.landscape import draw, find_trial
    from harness.commands.reproduce import FIGURE
    from harness.commands.running import register_trusted

    spec = find_trial(directory, trial)
    register_trusted(directory, [spec.workload])
    folder = out or directory / "landscape" / spec.key
    where = None if data_dir is None else str(data_dir.resolve())
    result = draw(
        directory, spec, workloads.get, folder, examples=examples, points=points, seed=seed,
        checkpoints=checkpoint_dir, data_dir=where, announce=lambda line: say(f"Computing {line}"),
    )  # fmt: skip
    values = ", ".join(f"{value:.4g}" for value in result["eigenvalues"])
    say(f"Loss {result['loss']:.6g}; largest eigenvalues of the Hessian: {values}")
    say(f"Written: {folder / FIGURE}.png")
