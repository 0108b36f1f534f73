"""The command calibrate, which finds the targets of a workload."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    INTERRUPTED,
    MACHINE,
    OPTIONS,
    AddressOption,
    console,
    print_json,
    say,
)
from harness.cli.records import takes_records
from scoring.records import RunOptions


@takes_records(OPTIONS, only=MACHINE)
def calibrate(
    workload: Annotated[str, typer.Argument(help="see `chronograd workloads`")],
    trials: Annotated[int, typer.Option(min=1, help="trials per algorithm")] = 200,
    out: Annotated[Path | None, typer.Option(help="default: results/calibrate/WORKLOAD")] = None,
    address: AddressOption = None,
    *,
    options: RunOptions,
) -> None:
    """Finds a workload's targets by the target-setting procedure; resumes where it was stopped."""
    import workloads
    from harness.commands.calibrate import Calibration
    from harness.executors.cluster import Cluster
    from harness.executors.resources import TrialResources
    from harness.progress.live import watch
    from harness.sweep.interruption import InterruptedSweepError

    out = out or Path("results/calibrate") / workload
    cluster = Cluster(workloads.get, address, TrialResources.of(options))
    with watch(console) as callback, closing(cluster):
        calibration = Calibration(
            load_workload=workloads.get,
            name=workload,
            trials=trials,
            out=out,
            executor=cluster,
            callback=callback,
            options=options,
        )
        try:
            found = calibration.run()
        except InterruptedSweepError:
            say("Interrupted. The same command resumes where it stopped.")
            raise typer.Exit(INTERRUPTED) from None
    print_json(found)
    say(f"Written: {out / f'{workload}.target.json'}. A workload reads the one next to its code.")
