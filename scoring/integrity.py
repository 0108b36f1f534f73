"""Judges a trial's integrity record: each finding is a phrase that a reviewer should look at.

`harness.trial.integrity` and the driver record facts; this module judges them. Thresholds on times
allow for a busy machine, which lengthens the times of both clocks alike, but not the CPU time.
docs/integrity.md explains every finding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scoring.records import Status, TrialResult, TrialSpec

_CHANGED = {  # the meaning of each kind of change on record
    "functions": "functions that evaluate or measure were replaced",
    "settings": "global settings were changed",
    "modules": "the model's own methods or classes were replaced",
    "parameters": "parameters or buffers changed while the clock was paused",
    "workload": "the workload's settings were changed",
    "trial": "the trial's settings were changed",
    "tensors": "other tensors changed while the clock was paused, and the model has hooks",
}


def findings(
    spec: TrialSpec,
    ending: TrialResult,
    met: bool | None,
    *,
    own_initialisation: bool = False,
) -> list[str]:
    """Lists what is wrong or suspicious about a trial's numbers.

    Args:
        spec: The trial.
        ending: Its result, without rows.
        met: Whether an evaluation meets the goal that the trial ran for; None if unknown.
        own_initialisation: Whether the ruleset lets a submission initialise the model.
    """
    found = _times(ending)
    if met is False and ending.status is Status.REACHED:
        found.append("it is recorded as having reached its goal, but no evaluation meets it")
    if not ending.integrity:  # recorded before there was an integrity record
        return found
    try:
        return found + _initial(ending, own_initialisation) + _recorded(spec, ending)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return [*found, f"its integrity record is damaged ({type(error).__name__}: {error})"]


def _times(ending: TrialResult) -> list[str]:
    """Finds impossible times: negative ones, or parts that exceed the total."""
    parts = (ending.submission_seconds, ending.eval_seconds, ending.logging_seconds)
    found = []
    if min(*parts, ending.total_seconds, ending.cpu_seconds) < 0:
        found.append("a time is negative")
    together, total = math.fsum(parts), ending.total_seconds
    if total > 0 and together > total + max(0.5, 0.01 * total):
        found.append(f"training, evaluation and logging are {together:,.2f} s of {total:,.2f} s")
    return found


def _initial(ending: TrialResult, own_initialisation: bool) -> list[str]:
    """Finds initial parameters that the ruleset does not let a submission change."""
    initial = ending.integrity.get("initial_parameters", {})
    if not initial or own_initialisation:
        return []
    if initial["before_import"] == initial.get("after_init", initial["before_import"]):
        return []
    return ["training began from other parameters than the workload's initial ones"]


def _recorded(spec: TrialSpec, ending: TrialResult) -> list[str]:
    record = ending.integrity
    found = []
    data = record.get("evaluation_data", {})
    if data and data["before_import"] != data.get("after_trial"):
        found.append("the evaluation data changed during the trial")
    for kind, names in record["changed"].items():
        found.append(f"{_CHANGED.get(kind, kind)}: {_some(names)}")
    if record["threads"]:
        found.append(
            f"threads of the submission ran while it was paused: {_some(record['threads'])}"
        )
    if record["calls"]:
        calls = [f"{what} ({where})" for what, where in record["calls"].items()]
        found.append(f"the submission's code calls or opens: {_some(calls)}")
    found += _untimed(ending)
    if spec.clock == "wall":
        found += _clock(spec, record["clock"])
        found += _driver(record.get("driver_rows", []))
    if ending.status is Status.REACHED and ending.global_step == 1:
        found.append("the goal was met after one step")
    if "fault" in record:
        found.append(f"its integrity record is incomplete: {record['fault']}")
    return found + _evaluations(record["evaluations"])


def _untimed(ending: TrialResult) -> list[str]:
    """Code of the submission that ran while it was not timed, such as training in a checkpoint.

    Its import and `init_optimizer_state` may take longer, since they load and compile libraries.
    """
    found = []
    for section, (seconds, place) in ending.integrity.get("untimed", {}).items():
        allowed = 30.0 if section == "set-up" else 0.5
        if seconds > allowed + 0.05 * ending.submission_seconds:
            found.append(f"its code ran for {seconds:,.1f} s that are not timed, in {section}, "
                         f"at {place}")  # fmt: skip
    return found


def _clock(spec: TrialSpec, clock: dict[str, float]) -> list[str]:
    """The submission clock against a second clock, and against the CPU time of the process."""
    found = []
    charged, observed = clock["submission_seconds"], clock["observed_seconds"]
    if observed > 1.05 * charged + 0.2:
        found.append(f"the clock charged {charged:,.2f} s of {observed:,.2f} s that passed")
    cpus, cpu = spec.cpus_per_trial + clock["other_threads"], clock["cpu_seconds"]
    if spec.device == "cpu" and cpu > 1.25 * cpus * charged + 0.3:
        found.append(f"it used {cpu:,.2f} CPU seconds in {charged:,.2f} s with {cpus:g} threads")
    return found


def _driver(rows: Sequence[Sequence[float]]) -> list[str]:
    """The trial's total time against the driver's clock.

    A row may arrive late, so each half of the rows is represented by the one with the least delay.
    """
    if len(rows) < 4:
        return []
    late = [at - total for at, total in rows]
    half = len(rows) // 2
    first, last = min(late[:half]), min(late[half:])
    elapsed = rows[-1][0] - rows[0][0]
    if last - first > max(5.0, 0.1 * elapsed):
        return [f"the driver saw {last - first:,.1f} s more pass than the trial's own clock"]
    return []


def _evaluations(rows: Sequence[Sequence[float]]) -> list[str]:
    """An evaluation that took far longer than the median, on the wall clock and the CPU alike.

    The first is ignored, since it may load data.
    """
    if len(rows) < 4:
        return []
    walls, cpus = sorted(row[1] for row in rows), sorted(row[2] for row in rows)
    wall, cpu = walls[len(walls) // 2], cpus[len(cpus) // 2]
    for step, seconds, cpu_seconds in rows[1:]:
        if seconds > 3 * wall + 1 and cpu_seconds > 3 * cpu + 1:
            return [
                f"the evaluation at step {step} took {seconds:,.1f} s, the median {wall:,.1f} s"
            ]
    return []


def _some(names: Sequence[Any]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(str(name) for name in names[:3]) + more
