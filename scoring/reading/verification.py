"""The result of evaluating a trial's weights a second time; OUT/.../trial_<n>/verification.json.

`chronograd verify` loads the weights with which a trial reached its goal into a freshly made model,
in a process that never loads a submission. Nothing that a submission did to the training process,
such as replacing a metric, can change the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scoring.plain import read_json, to_plain, write_json
from scoring.reading.results import Trial
from scoring.records import Goal, RecordError, TrialSpec

FILE = "verification.json"
TOLERANCE = 1e-3  # relative difference of a metric, as between two machines


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The metrics of a trial's last evaluation, and those of its weights evaluated again.

    Attributes:
        global_step: The step of the evaluation that reached the goal.
        recorded: The trial's own measurements by name, such as "validation/accuracy".
        found: The measurements of the second evaluation, by name.
    """

    global_step: int
    recorded: dict[str, float]
    found: dict[str, float]

    def contradictions(self, spec: TrialSpec) -> list[str]:
        """A phrase for each deciding metric that the weights do not reproduce."""
        goals = {f"validation/{spec.goal.metric}": spec.goal}
        if spec.until == "test" and spec.test_goal is not None:
            goals[f"test/{spec.test_goal.metric}"] = spec.test_goal
        return [
            f"evaluated again, its weights give {name} {self._of(self.found, name):g}, not "
            f"{self._of(self.recorded, name):g}"
            for name, goal in goals.items()
            if not self._agrees(name, goal)
        ]

    def _agrees(self, name: str, goal: Goal) -> bool:
        found, recorded = self._of(self.found, name), self._of(self.recorded, name)
        return goal.met_by(found) or math.isclose(found, recorded, rel_tol=TOLERANCE)

    @staticmethod
    def _of(values: dict[str, float], name: str) -> float:
        return values.get(name, math.nan)

    def write(self, folder: Path) -> None:
        """Writes the record into a trial's folder."""
        write_json(folder / FILE, to_plain(self))


def read_verification(folder: Path, global_step: int | None) -> Verification | None:
    """Reads a trial's record; None if there is none, or it is for another evaluation.

    Args:
        folder: The folder of the trial.
        global_step: The step of the evaluation that reached the goal.

    Raises:
        RecordError: It is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    data = read_json(path)
    try:
        read = Verification(
            global_step=int(data["global_step"]),
            recorded={str(name): float(value) for name, value in data["recorded"].items()},
            found={str(name): float(value) for name, value in data["found"].items()},
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RecordError(f"{path}: damaged ({error}); remove it and verify again") from None
    return read if read.global_step == global_step else None


def deciding(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that a leaderboard depends on: in each study, the first to reach the goal."""
    best: dict[tuple[str, str, int], Trial] = {}
    for trial in trials:
        if trial.within_budget and not trial.extra and trial.status == "reached":
            key = (trial.submission, trial.workload, trial.study)
            if key not in best or _seconds(trial) < _seconds(best[key]):
                best[key] = trial
    return list(best.values())


def remark(trials: Sequence[Trial]) -> list[str]:
    """A line on how many of the deciding trials were verified; nothing if no trial was."""
    if not any(trial.verified for trial in trials):
        return []
    decide = deciding(trials)
    confirmed = sum(trial.verified == "confirmed" for trial in decide)
    return [
        f"{confirmed} of {len(decide)} trials that decide the board are confirmed by a second "
        "evaluation of their weights (chronograd verify)"
    ]


def _seconds(trial: Trial) -> float:
    return math.inf if trial.hit is None else trial.hit.submission_seconds
