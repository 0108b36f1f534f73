"""Checks whether trials will run, and run well, here: versions, data, cluster, seconds per step.

`harness.commands.machine` checks the hardware.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

from harness.commands.finding import Finding, State
from harness.environment import installed_version
from harness.spec import DataError, LoadWorkload, Workload
from harness.sweep.request import MAX_NODE_RATIO

GIB = 2.0**30
ANSWER_SECONDS = 60.0  # timeout of Ray
_SHOWN = ("chronograd", "torch", "ray", "numpy")
_ASK_RAY = (
    "import json, sys; from harness.executors.nodes import resources; "
    "print(json.dumps(resources(sys.argv[1])))"
)


def versions() -> list[Finding]:
    """Returns the versions of Python and of packages, and the requirements that are not met."""
    import torch

    shown = [f"python {platform.python_version()}"]
    shown += [f"{name} {installed_version(name) or 'missing'}" for name in _SHOWN]
    shown.append(f"CUDA of torch {torch.version.cuda or 'none'}")
    found = [Finding("versions", "", State.OK, ", ".join(shown))]
    try:
        needed = requires("chronograd") or []
    except PackageNotFoundError:
        advice = "install it with pip, so that its requirements can be checked"
        what = "runs without being installed"
        return [*found, Finding("chronograd", "", State.WARNING, what, advice)]
    return found + unmet(map(Requirement, needed))


def unmet(needed: Iterable[Requirement]) -> list[Finding]:
    """Returns a problem for each requirement of training that is missing or has a wrong version."""
    checks = []
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": "run"}):
            has = installed_version(requirement.name)
            if has is None or not requirement.specifier.contains(has, prereleases=True):
                wanted = f"{requirement.name}{requirement.specifier}"
                what, fix = f"{has or 'missing'}, not {wanted}", f"pip install '{wanted}'"
                checks.append(Finding(requirement.name, "", State.PROBLEM, what, fix))
    return checks


def datasets(
    load_workload: LoadWorkload, names: Sequence[str], data_dir: Path | None, *, needed: bool
) -> list[Finding]:
    """Checks whether the data of workloads exists; `chronograd data check` reads all of it.

    Args:
        load_workload: Loads a workload, given its name, the data directory and the device.
        names: Names of the workloads.
        data_dir: Folder of their files.
        needed: Whether missing data is a problem, because the workloads were asked for by name.
    """
    generated: list[str] = []
    unchecked: list[str] = []
    checks = []
    for name in names:
        if _data_problem(load_workload, name, None) is None:
            generated.append(name)
        elif data_dir is None and not needed:
            unchecked.append(name)
        elif (missing := _data_problem(load_workload, name, data_dir)) is None:
            checks.append(Finding("data", name, State.OK, f"found in {data_dir}"))
        else:
            state = State.PROBLEM if needed else State.WARNING
            advice = f"`chronograd data check {name}` prints where to get it"
            advice += "; pass --data-dir" if data_dir is None else ""
            checks.append(Finding("data", name, state, missing, advice))
    if generated:
        found = f"{', '.join(generated)}: need no files; missing data is generated when needed"
        checks.insert(0, Finding("data", "", State.OK, found))
    if unchecked:
        found = f"{', '.join(unchecked)}: need files, which are not checked without --data-dir"
        checks.append(Finding("data", "", State.OK, found))
    return checks


def whole_data(workload: Workload) -> list[Finding]:
    """Reads all data of a workload; returns a problem per fault, or that there is none."""
    source = workload.data_source
    fix = f"Where to get it: {source}" if source else ""
    return [
        Finding("data", workload.name, State.PROBLEM, fault, fix)
        for fault in workload.data_faults()
    ] or [Finding("data", workload.name, State.OK, "all data is complete")]


def _data_problem(load_workload: LoadWorkload, name: str, data_dir: Path | None) -> str | None:
    """Returns what is wrong with a workload's data; None if nothing is."""
    try:
        load_workload(name, None if data_dir is None else str(data_dir), "cpu").check_data()
    except DataError as error:
        return f"missing: {error}"
    except Exception as error:  # noqa: BLE001 - importing a workload may raise anything
        return f"cannot be checked: {type(error).__name__}: {error}"
    return None


def cluster(address: str) -> list[Finding]:
    """Checks the Ray cluster at `address`, from another process, so that this one cannot hang."""
    command = [sys.executable, "-c", _ASK_RAY, address]
    advice = "run `ray status` there, and check --address"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        found = f"{address}: no answer in {ANSWER_SECONDS:g} s"
        return [Finding("Ray", "", State.PROBLEM, found, advice)]
    if done.returncode:
        cause = last_line(done.stderr).removeprefix("harness.executors.nodes.ClusterError: ")
        return [Finding("Ray", "", State.PROBLEM, cause, advice)]
    return nodes(*json.loads(done.stdout.splitlines()[-1]))


def nodes(
    living: Sequence[tuple[str, Mapping[str, float]]], free: Mapping[str, float]
) -> list[Finding]:
    """Checks the nodes of a cluster.

    Args:
        living: Name and resources of every live node.
        free: The resources of the cluster that are not in use.
    """
    checks: list[Finding] = []
    models: set[str] = set()
    for name, has in living:
        model = [key.removeprefix("accelerator_type:") for key in has if "accelerator_type:" in key]
        models.update(model)
        cpus, gpus_, size = (has.get(key, 0.0) for key in ("CPU", "GPU", "memory"))
        found = f"{cpus:g} CPUs, {gpus_:g} GPUs {''.join(model)}".rstrip()
        checks.append(Finding("Ray", name, State.OK, f"{found}, {size / GIB:.1f} GiB"))
    for key in ("CPU", "GPU"):
        total = sum(has.get(key, 0.0) for _, has in living)
        if (taken := total - free.get(key, 0.0)) > 0:
            found = f"{taken:g} of {total:g} {key}s are in use"
            advice = "other work distorts step times: wait until it has ended"
            checks.append(Finding("Ray", "", State.WARNING, found, advice))
    if len(models) > 1:
        found = f"GPUs differ: {', '.join(sorted(models))}"
        advice = "sweep on nodes of one type, or step times are not comparable"
        checks.append(Finding("Ray", "", State.WARNING, found, advice))
    return checks


def steps(what: str, seconds: Sequence[float]) -> Finding:
    """Checks whether a step takes the same time in every process.

    Args:
        what: The submission, workload and device that were timed.
        seconds: Median seconds per step of several processes that ran one after the other.
    """
    times = " and ".join(f"{1000 * second:.3g} ms" for second in seconds)
    found = f"{what}: {times} per step"
    if max(seconds) > MAX_NODE_RATIO * min(seconds):
        advice = "other work runs on this machine: end it before you measure"
        return Finding("step time", "", State.WARNING, found, advice)
    return Finding("step time", "", State.OK, found)


def last_line(text: str) -> str:
    """Returns the last line that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
