"""The command calibrate: the targets of a workload."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    INTERRUPTED,
    AddressOption,
    CpusOption,
    DataDirOption,
    GpusOption,
    SeedOption,
    console,
    print_json,
    say,
)


def calibrate(
    workload: Annotated[str, typer.Argument()],
    trials: Annotated[int, typer.Option(min=1, help="of each algorithm")] = 200,
    out: Annotated[Path | None, typer.Option(help="default: results/calibrate/WORKLOAD")] = None,
    seed: SeedOption = 0,
    data_dir: DataDirOption = None,
    cpus_per_trial: CpusOption = 1,
    gpus_per_trial: GpusOption = 0,
    address: AddressOption = None,
) -> None:
    """Finds a workload's targets by the target-setting procedure; goes on where it was stopped."""
    import workloads
    from harness.commands.calibrate import Calibration
    from harness.executors.cluster import Cluster
    from harness.executors.team import Room
    from harness.progress.live import watch
    from harness.sweep.interruption import InterruptedSweepError

    out = out or Path("results/calibrate") / workload
    options = {
        "seed": seed,
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "processes_per_trial": 1,
    }
    cluster = Cluster(workloads.get, address, Room.of(options))
    with watch(console) as watcher, closing(cluster):
        calibration = Calibration(
            load_workload=workloads.get,
            name=workload,
            trials=trials,
            out=out,
            executor=cluster,
            watcher=watcher,
            options=options,
        )
        try:
            found = calibration.run()
        except InterruptedSweepError:
            say("Interrupted. The same command goes on where it stopped.")
            raise typer.Exit(INTERRUPTED) from None
    print_json(found)
    say(f"Written to {out / f'{workload}.target.json'}; a workload reads the one beside its code.")
