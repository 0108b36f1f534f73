"""Submissions x workloads x studies x trials -> TrialSpecs, and what of them is left to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.spec import Workload
from harness.submission import loading
from harness.submission.search_space import load as load_search_space
from scoring import experiment
from scoring.records import (
    Failure,
    Goal,
    Status,
    TrialResult,
    TrialSpec,
    UserError,
    write_json,
)
from scoring.rulesets import Ruleset
from scoring.tree import EXPERIMENT_FILE, TRIAL_FILE, read_ending, trial_folder

if TYPE_CHECKING:
    from harness.sweep.pruner import Pruner

OPTIMIZERS = "optimizers"  # the folder of a results tree that has optimizers given by dotted names
_DROPOUT_RATES = ("dropout_rate", "aux_dropout_rate")


class PlanError(UserError):
    """What was asked for cannot be planned; the message says why and what to do."""


class PlannedSubmission(experiment.PlannedSubmission):
    """A submission as planned.

    Attributes:
        files: The digests of its files; empty in a tree from before they were recorded.
        accepted: Changes of files that were accepted since, as "FILE: SHA-256, now SHA-256".
        points: Its hyperparameters, [study][trial]; None under self-tuning.
    """

    files: Mapping[str, str] = Field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    points: list[list[dict[str, Any]]] | None


class PlannedWorkload(experiment.PlannedWorkload):
    """A workload's rules as applied; seconds are for external tuning."""

    test_goal: Goal | None
    eval_period_seconds: float
    step_hint: int
    baseline_step_seconds: float | None  # None where the budget is official seconds


class Experiment(experiment.Experiment):
    """Everything that fixes a results tree; its JSON is OUT/experiment.json."""

    until: str = "validation"
    stop_diverged: bool = True
    compile: bool = True
    max_steps: int | None = None
    batch_size: int | None = None
    search_space: str = loading.SEARCH_SPACE_FILE
    data_dir: str | None = None
    cpus_per_trial: int = 1
    gpus_per_trial: int = 0
    processes_per_trial: int = 1  # where there are no GPUs; else each has one
    submissions: dict[str, PlannedSubmission]
    workloads: dict[str, PlannedWorkload]
    only: tuple[int, int] | None = None  # the study and trial of `chronograd run`

    @property
    def device(self) -> str:
        """Where trials run."""
        return "cuda" if self.gpus_per_trial else "cpu"

    def specs(self) -> Iterator[TrialSpec]:
        """Every trial, study by study, so that a partial sweep compares all submissions."""
        for study in range(self.studies):
            for workload in self.workloads:
                for name in self.submissions:
                    for trial in range(1, self.trials + 1):
                        if self.only is None or self.only == (study, trial):
                            yield self.spec(name, workload, study, trial)

    def spec(self, name: str, workload: str, study: int, trial: int) -> TrialSpec:
        """One trial of the plan."""
        planned, rules = self.submissions[name], self.workloads[workload]
        point = None if planned.points is None else planned.points[study][trial - 1]
        rates = point or {} if self.ruleset.dropout_at_init else {}
        return TrialSpec(
            submission=name,
            submission_path=planned.path,
            submission_hash=planned.hash,
            tuning=self.tuning,
            workload=workload,
            study=study,
            trial=trial,
            seed=self.seed,
            hyperparameters=point,
            goal=rules.goal,
            test_goal=rules.test_goal,
            budget_seconds=rules.budget_seconds * self.ruleset.budget_factor(self.tuning),
            max_allowed_runtime_sec=rules.budget_seconds,
            eval_period_seconds=rules.eval_period_seconds,
            step_hint=rules.step_hint,
            max_steps=self.max_steps,
            clock=self.clock,
            step_seconds=self._step_seconds(rules),
            until=self.until,
            stop_diverged=self.stop_diverged,
            batch_size=self.batch_size,
            data_dir=self.data_dir,
            device=self.device,
            threads=self.cpus_per_trial,
            processes=self.gpus_per_trial or self.processes_per_trial,
            compile=self.compile,
            dropout={name: rate for name, rate in rates.items() if name in _DROPOUT_RATES},
        )

    def _step_seconds(self, rules: PlannedWorkload) -> float:
        """What the step clock charges: the nominal step, or the official budget's share."""
        if self.clock != "steps":
            return 0.0
        return rules.baseline_step_seconds or rules.budget_seconds / rules.step_hint

    def left(self, out: Path, pruner: Pruner | None = None) -> list[TrialSpec]:
        """The trials that have no result yet; one lost with its machine or interrupted has none.

        Neither has one that was pruned, unless `pruner` still says that it does not matter.
        """
        if pruner is not None:
            return [spec for spec in self.specs() if not pruner.is_done(spec)]
        return [spec for spec in self.specs() if not _is_done(trial_folder(out, spec))]

    def write(self, out: Path) -> None:
        """Writes OUT/experiment.json; paths inside OUT are relative, so that OUT can be moved."""
        root = out.resolve()
        data = self.model_dump()
        for planned in data["submissions"].values():
            if Path(planned["path"]).is_relative_to(root):
                planned["path"] = Path(planned["path"]).relative_to(root).as_posix()
        write_json(out / EXPERIMENT_FILE, data)


def read_experiment(out: Path) -> Experiment:
    """Reads OUT/experiment.json; paths of submissions inside OUT are those of OUT's place now.

    Raises:
        RecordError: It is missing or damaged.
    """
    read, root = Experiment.read(out), out.resolve()
    submissions = {}
    for name, planned in read.submissions.items():
        place = root / planned.path  # an absolute path stays as it is
        own = root / OPTIMIZERS / place.name
        if not place.exists() and place.parent.name == OPTIMIZERS and own.exists():
            place = own  # early versions wrote absolute paths; the tree was moved since
        submissions[name] = planned.model_copy(update={"path": str(place)})
    return read.model_copy(update={"submissions": submissions})


def plan_submission(
    place: Path,
    tuning: str,
    seed: int,
    studies: int,
    trials: int,
    search_space: str,
    points: list[list[dict[str, Any]]] | None = None,
    known: PlannedSubmission | None = None,
) -> PlannedSubmission:
    """Loads and checks a submission and draws its points.

    Args:
        place: Of the submission, as `loading.find` gives it.
        tuning: "external" or "self".
        seed: Of the points.
        studies: How many studies there are.
        trials: How many trials a study has.
        search_space: The name of the submission's search-space file, or its path.
        points: Given points [study][trial], which no search space is then needed for.
        known: As it was planned before: its points are used where the search space is gone.
    """
    loading.validate(place)
    if tuning == "external" and points is None:
        file = loading.search_space_of(place, search_space)
        if known is not None and len(known.points or []) >= studies and not file.exists():
            points = known.points
        else:
            points = load_search_space(file).points(seed, studies, trials)
    return PlannedSubmission(
        path=str(place),
        hash=loading.content_hash(place),
        files=loading.digests(place),
        points=points,
    )


def plan_workload(
    workload: Workload, ruleset: Ruleset, clock: str, step_seconds: float | None
) -> PlannedWorkload:
    """Applies a ruleset to a workload.

    Args:
        workload: Its attributes hold where the ruleset says nothing.
        ruleset: The rules.
        clock: "wall", or "steps": budgets in baseline steps are then nominal seconds.
        step_seconds: The measured step of the baseline; needed only where `needs_baseline`.
    """
    rules = ruleset.workloads.get(workload.name)
    own = {name: value for name, value in rules if value is not None} if rules else {}
    step = None
    budget = own.get("budget_seconds", workload.max_allowed_runtime_sec)
    period = own.get("eval_period_seconds", workload.eval_period_time_sec)
    if budget is None or period is None:
        step = workload.nominal_step_sec if clock == "steps" else step_seconds
        if step is None or workload.budget_steps is None or workload.eval_period_steps is None:
            raise PlanError(f"{workload.name}: has no budget, neither in seconds nor in steps")
        budget, period = workload.budget_steps * step, workload.eval_period_steps * step
        if clock == "wall" and ruleset.max_budget_seconds is not None:
            budget = min(budget, ruleset.max_budget_seconds)
    return PlannedWorkload(
        goal=_with_rules(workload.goal, own, own.get("validation_target")),
        test_goal=workload.test_goal
        and _with_rules(workload.test_goal, own, own.get("test_target")),
        budget_seconds=budget,
        eval_period_seconds=period,
        step_hint=own.get("step_hint", workload.step_hint),
        baseline_step_seconds=step,
    )


def needs_baseline(workload: Workload, ruleset: Ruleset, clock: str) -> bool:
    """Whether the baseline's step must be timed before the workload's budget is known."""
    rules = ruleset.workloads.get(workload.name)
    given = rules is not None and rules.budget_seconds is not None
    return clock == "wall" and workload.max_allowed_runtime_sec is None and not given


def _with_rules(goal: Goal, own: dict[str, Any], target: float | None) -> Goal:
    """A workload's goal with what the ruleset says of it."""
    return Goal(
        metric=own.get("metric", goal.metric),
        direction=own.get("direction", goal.direction),
        target=goal.target if target is None else target,
    )


def _is_done(folder: Path) -> bool:
    if not (folder / TRIAL_FILE).is_file():
        return False
    return has_ended(read_ending(folder)[1])


def has_ended(result: TrialResult) -> bool:
    """Whether a trial ended by itself: it was neither pruned nor cut off."""
    return result.status is not Status.PRUNED and not will_run_again(result)


def will_run_again(result: TrialResult) -> bool:
    """Whether a trial was cut off: by Ctrl-C, or with its machine."""
    lost = result.status is Status.FAILED and result.failure is Failure.WORKER_LOST
    return lost or result.status is Status.INTERRUPTED
