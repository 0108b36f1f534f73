"""The command run, which runs one trial on this machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.given import hyperparameters, registered, say_which
from harness.cli.options import (
    ONE_PROCESS,
    OPTIONS,
    Device,
    RulesetOption,
    SearchSpaceOption,
    TrackOption,
    TuningOption,
    console,
    preparing,
    say,
)
from harness.cli.records import takes_records
from harness.cli.summary import exit_by, say_tracebacks, warn
from harness.sweep.options import OptimizerOptions
from scoring.records import RunOptions
from scoring.tree import OPTIMIZERS

TRACKER_PATIENCE = 60.0  # seconds per evaluation, during which the trial's clock is paused


@takes_records(OPTIONS, only=ONE_PROCESS)
def run(
    submission: Annotated[
        str, typer.Argument(help="a name, a path, or an optimizer class: torch.optim.AdamW")
    ],
    options: RunOptions,
    optimizer: OptimizerOptions,
    workload: Annotated[
        str,
        typer.Option(
            "--workload",
            "-w",
            callback=registered,
            help="a name (`chronograd workloads`) or a folder",
        ),
    ] = ...,  # type: ignore[assignment]
    study: Annotated[int, typer.Option(min=0, help="number of the study, from 0")] = 0,
    trial: Annotated[int, typer.Option(min=1, help="number of the trial, from 1")] = 1,
    hparams: Annotated[
        str | None, typer.Option(help="hyperparameters: JSON, or a JSON file")
    ] = None,
    search_space: SearchSpaceOption = None,
    ruleset: RulesetOption = "mini",
    tuning: TuningOption = None,
    device: Annotated[Device, typer.Option(help="where the trial runs")] = Device.AUTO,
    out: Annotated[Path | None, typer.Option(help="results directory; default: a new one")] = None,
    track: TrackOption = None,
) -> None:
    """Runs one trial on this machine, without Ray.

    Examples:
      chronograd run nadamw --workload digits --trial 2
      chronograd run torch.optim.AdamW --workload digits --hparams '{"lr": 1e-3}'
    """
    from harness.system.children import start_importing

    if device is not Device.CUDA:
        start_importing()
    import workloads
    from harness.commands import dotted
    from harness.commands.running import run_here, uses_gpu
    from harness.progress.live import PlainProgress
    from harness.progress.track import tracking
    from harness.sweep.request import Request, single_trial
    from scoring import rulesets

    now = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%f")
    name = Path(submission.removesuffix("/submission.py")).resolve().name
    shown = out or Path("results/runs") / f"{name}-{workload}-{now}"
    out = shown.absolute()
    say_which([submission], tuning)
    request = Request(
        submissions=dotted.write([submission], out / OPTIMIZERS, optimizer),
        workloads=[workload],
        ruleset=rulesets.load(ruleset),
        tuning=tuning,
        search_space=search_space,
        point=hyperparameters(hparams),
        options=replace(options, gpus_per_trial=int(uses_gpu(device))),
    )
    with preparing() as progress:
        draft = single_trial(request, study, trial, workloads.get, progress)
    lines = PlainProgress(console, rows=True)
    callback = tracking(lines, track, out, say, patience=TRACKER_PATIENCE)
    summary = run_here(draft, out, callback, say, warn)
    say_tracebacks(summary, shown)
    say(f"Records in {shown}")
    exit_by(summary)
