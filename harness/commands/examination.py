"""All checks of `chronograd doctor`, in order."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import workloads
from harness.commands import doctor, machine
from harness.commands.finding import Finding, State
from harness.executors.local import LocalExecutor
from harness.spec import DataError
from harness.sweep.request import Request, check
from scoring import rulesets
from scoring.records import RunOptions
from workloads.prepared import cache_folder


def examine(
    names: Sequence[str],
    data_dir: Path | None,
    checkpoint_dir: Path | None,
    address: str | None,
    *,
    probed: str,
) -> list[Finding]:
    """Runs all checks.

    Args:
        names: Workloads whose data is needed; if empty, missing data of any workload is a warning.
        data_dir: Folder of the datasets.
        checkpoint_dir: Folder in which checkpoints will be kept.
        address: Address of a Ray cluster; None if none is used.
        probed: The workload on which steps are timed.
    """
    temporary = Path(tempfile.gettempdir())
    checks = [*doctor.versions(), machine.processor(), machine.memory(), *machine.gpus()]
    if data_dir is not None:
        checks.append(machine.disk("data", data_dir, must_exist=True))
    try:
        checks.append(machine.disk("generated data", cache_folder()))
    except DataError as error:
        found, _, advice = str(error).partition("; ")
        checks.append(Finding("disk", "generated data", State.PROBLEM, found, advice))
    checks.append(machine.disk("temporary files, checkpoints", temporary))
    if checkpoint_dir is not None:
        checks.append(machine.disk("checkpoints", checkpoint_dir))
    checks += doctor.datasets(
        workloads.get, list(names) or workloads.names(), data_dir, needed=bool(names)
    )
    if address:
        checks += doctor.cluster(address)
    return [*checks, _step_time(probed)]


def _step_time(workload: str) -> Finding:
    """Times the baseline's steps twice, in two new processes, on the GPU if there is one."""
    import torch

    ruleset = rulesets.load("demo")
    gpus = int(torch.cuda.is_available())
    request = Request(
        submissions=[ruleset.baseline], workloads=[workload], ruleset=ruleset,
        options=RunOptions(gpus_per_trial=gpus),
    )  # fmt: skip
    what = f"{ruleset.baseline} on {workload}, on the {'GPU' if gpus else 'CPU'}"
    try:
        draft = check(request, workloads.get)
        executor, probed = LocalExecutor(workloads.get), draft.workloads[workload]
        return doctor.steps(what, [draft.baseline_step(probed, executor) for _ in range(2)])
    except Exception as error:  # noqa: BLE001 - any error here would be one of every trial
        advice = f"see `chronograd --debug run {ruleset.baseline} --workload {workload}`"
        found = f"{what}: {type(error).__name__}: {error}"
        return Finding("step time", "", State.PROBLEM, found, advice)
