"""The commands for datasets: data check, data prepare."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.completion import completed
from harness.cli.options import DataDirOption, preparing, say

app = typer.Typer(help="Checks and prepares datasets.", no_args_is_help=True)
WorkloadArgument = Annotated[str, typer.Argument(help="see `chronograd workloads`")]


@app.command()
@completed
def check(workload: WorkloadArgument, data_dir: DataDirOption = None) -> None:
    """Reads a workload's data and prints what is missing, damaged or of the wrong size.

    Example: chronograd data check ogbg --data-dir /data/ogbg
    """
    import workloads
    from harness.commands.doctor import whole_data
    from harness.commands.finding import worst

    found = whole_data(workloads.get(workload, None if data_dir is None else data_dir.resolve()))
    for finding in found:
        if finding.passed:
            say(f"{finding.where}: {finding.what}")
        else:
            say(finding.what, style="red")
    if fix := found[0].fix:
        say(fix)
    if not worst(found).passed:
        raise typer.Exit(1)


@app.command()
@completed
def prepare(workload: WorkloadArgument, data_dir: DataDirOption = None) -> None:
    """Prepares a workload's data for training; resumes where it was stopped.

    Example: chronograd data prepare ogbg --data-dir /data/ogbg
    """
    import workloads

    loaded = workloads.get(workload, None if data_dir is None else data_dir.resolve())
    loaded.check_data()
    with preparing() as progress:
        loaded.prepare_data(progress)
    say(f"{workload}: ready")
