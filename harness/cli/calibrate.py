"""The command calibrate, which finds the targets of a workload or of a suite."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.given import registered
from harness.cli.options import (
    INTERRUPTED,
    MACHINE,
    OPTIONS,
    AddressOption,
    BaselineStudiesOption,
    console,
    print_json,
    say,
)
from harness.cli.records import takes_records
from scoring.records import RunOptions

if TYPE_CHECKING:
    from harness.executors.cluster import Cluster
    from harness.sweep.callback import SweepCallback

PROCEDURE_TRIALS = 200


@takes_records(OPTIONS, only=MACHINE)
def calibrate(
    workload: Annotated[
        str | None, typer.Argument(callback=registered, help="a name, or the folder of your own")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="in place of a workload: a ruleset, such as sprint, whose targets are what its "
            "baseline reaches within the budget"
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="trials per algorithm; default: 200, of a suite its ruleset's"),
    ] = None,
    studies: BaselineStudiesOption = None,
    out: Annotated[Path | None, typer.Option(help="default: results/calibrate/NAME")] = None,
    address: AddressOption = None,
    *,
    options: RunOptions,
) -> None:
    """Finds the targets of a workload, or of a suite; resumes where it was stopped.

    Examples:
      chronograd calibrate digits
      chronograd calibrate --suite sprint --data-dir D --gpus-per-trial 1
    """
    import workloads
    from harness.executors.cluster import Cluster
    from harness.executors.resources import TrialResources
    from harness.progress.live import watch
    from harness.sweep.interruption import InterruptedSweepError

    if (workload is None) == (suite is None):
        raise typer.BadParameter("needs either a workload or --suite")
    if suite is None and studies is not None:
        raise typer.BadParameter("--studies is for --suite")
    name = Path(suite).stem if suite is not None else str(workload)
    out = out or Path("results/calibrate") / name
    cluster = Cluster(workloads.get, address, TrialResources.of(options))
    with watch(console) as callback, closing(cluster):
        try:
            if suite is None:
                _workload(name, trials or PROCEDURE_TRIALS, out, cluster, callback, options)
            else:
                _suite(suite, studies, trials, out, cluster, callback, options)
        except InterruptedSweepError:
            say("Interrupted. The same command resumes where it stopped.")
            raise typer.Exit(INTERRUPTED) from None


def _workload(
    name: str,
    trials: int,
    out: Path,
    executor: Cluster,
    callback: SweepCallback,
    options: RunOptions,
) -> None:
    import workloads
    from harness.commands.calibrate import Calibration

    found = Calibration(
        load_workload=workloads.get,
        name=name,
        trials=trials,
        out=out,
        executor=executor,
        callback=callback,
        options=options,
    ).run()
    print_json(found)
    say(f"Written: {out / f'{name}.target.json'}. A workload reads the one next to its code.")


def _suite(
    suite: str,
    studies: int | None,
    trials: int | None,
    out: Path,
    executor: Cluster,
    callback: SweepCallback,
    options: RunOptions,
) -> None:
    import workloads
    from harness.commands.calibrate import calibrate_suite
    from harness.commands.suites import members
    from harness.sweep.request import Request
    from scoring import rulesets

    rules = rulesets.load(suite)
    request = Request(
        submissions=[],
        workloads=members(rules.name, rules),
        ruleset=rules,
        tuning="external",
        studies=studies,
        trials=trials,
        options=options,
    )
    found = calibrate_suite(request, workloads.get, out, executor, callback)
    print_json({name: rule.validation_target for name, rule in found.workloads.items()})
    file = out / f"{found.name}.toml"
    say(f"Written: {file}. Pass it to --ruleset.")
