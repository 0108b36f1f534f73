"""Turns a user's request into an Experiment; checks everything before anything is started."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import environment
from harness.spec import LoadWorkload, Progress, Workload
from harness.submission import loading
from harness.submission.search_space import check_point
from harness.sweep.changes import extend, plan_of, refuse_foreign_code
from harness.sweep.plan import (
    PlanError,
    check_test_goals,
    needs_baseline,
    plan_submission,
    plan_workload,
)
from harness.sweep.resolve import check_names, default_tuning, places_of
from harness.sweep.run import Executor
from scoring.experiment import FIRST_STUDIES, Experiment, PlannedSubmission, PlannedWorkload
from scoring.records import ClockKind, RunOptions, Tuning, Until
from scoring.rulesets import Ruleset
from scoring.tree import SEARCH_SPACE_FILE

MAX_NODE_RATIO = 1.10  # of the step times of node types within one sweep


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asks for; None for the ruleset's value or the default."""

    submissions: Sequence[str]
    workloads: Sequence[str]
    ruleset: Ruleset
    tuning: str | None = None
    studies: int | None = None
    max_studies: int | None = None  # if results decide how many are added; None for a fixed number
    trials: int | None = None
    search_space: Path | None = None  # for all submissions; None for each submission's own
    point: dict[str, Any] | None = None  # replaces the search space's points
    known: Mapping[str, PlannedSubmission] = field(default_factory=dict)  # earlier plans
    options: RunOptions
    only: tuple[int, int] | None = None  # study and trial of `chronograd run`


def check(
    request: Request, load_workload: LoadWorkload, progress: Progress = lambda *_: None
) -> Draft:
    """Loads and checks every submission, search space, workload and data file of a request.

    Also prepares data for training, if that has not been done yet, and reports to `progress`.

    Raises:
        UserError: One of them is missing or invalid.
    """
    draft = plan(request, load_workload)
    for workload in draft.workloads.values():
        workload.check_data()
        workload.prepare_data(progress)
    return draft


def plan(request: Request, load_workload: LoadWorkload) -> Draft:
    """Like `check`, but without the data, which need not be on this machine."""
    ruleset = request.ruleset
    places = places_of(request.submissions, request.tuning, request.workloads)
    search_space = str(request.search_space or SEARCH_SPACE_FILE)
    default = "external" if request.point else default_tuning(places, search_space)
    tuning = request.tuning or default
    studies = request.max_studies or request.studies or ruleset.studies
    first = min(request.studies or FIRST_STUDIES, studies) if request.max_studies else None
    trials = 1 if tuning == "self" else request.trials or ruleset.trials
    options = request.options
    if ruleset.by_steps:
        if first is not None:
            raise PlanError(
                f"--studies auto: under {ruleset.name}, trials have no time to a target"
            )
        options = replace(options, clock=ClockKind.STEPS, until=Until.BUDGET)
    points = None
    if request.point is not None:
        check_point("--hparams", request.point)
        for place in places.values():
            check_names(place, search_space, request.point)
        points = [[request.point] * trials] * studies
    planned = {
        name: plan_submission(
            place,
            tuning,
            options.seed,
            studies,
            trials,
            search_space,
            points,
            request.known.get(name),
        )
        for name, place in places.items()
    }
    loaded = {name: load_workload(name, options.data_dir, "cpu") for name in request.workloads}
    if options.until is Until.TEST:
        check_test_goals(loaded)
    return Draft(
        ruleset=ruleset,
        submissions=planned,
        workloads=loaded,
        tuning=Tuning(tuning),
        studies=studies,
        first=first,
        trials=trials,
        search_space=search_space,
        options=options,
        only=request.only,
    )


def resumed(
    out: Path,
    studies: int | None,
    load_workload: LoadWorkload,
    progress: Progress = lambda *_: None,
    *,
    trust: bool = False,
    accepted: Sequence[str] = (),
    max_studies: int | None = None,
) -> Draft:
    """Returns the draft of the plan in `out`, possibly with more studies.

    Args:
        out: Results tree.
        studies: Number of studies, if larger than planned; None for the planned number.
        load_workload: Returns the workload of a name, data directory and device.
        progress: Receives the progress of preparing data.
        trust: Whether to import code from any path that the plan contains.
        accepted: Files of submissions that may have changed.
        max_studies: As in `Request`.

    Raises:
        UserError: There is no plan, or something it needs is missing, changed or not trusted.
    """
    old = Experiment.read(out).at(out)
    if not trust:
        refuse_foreign_code(old, out, accepted)
    request = Request(
        submissions=[planned.path for planned in old.submissions.values()],
        workloads=list(old.workloads),
        ruleset=old.ruleset,
        tuning=old.tuning,
        studies=studies or None if max_studies else max(studies or 0, old.studies),
        max_studies=max_studies and max(max_studies, old.studies),
        trials=old.trials,
        search_space=Path(old.search_space),
        known=old.submissions,
        options=old.options,
        only=old.only,
    )
    return check(request, load_workload, progress)


def single_trial(
    request: Request,
    study: int,
    trial: int,
    load_workload: LoadWorkload,
    progress: Progress = lambda *_: None,
) -> Draft:
    """Returns the draft of a single trial of a request.

    Args:
        request: Request with one submission and one workload.
        study: Index of the study, from 0; determines random streams and point.
        trial: Number of the trial, from 1; determines random streams and point.
        load_workload: Returns the workload of a name, data directory and device.
        progress: Receives the progress of preparing data.
    """
    draft = check(replace(request, studies=study + 1, trials=trial), load_workload, progress)
    if trial > draft.trials:
        raise PlanError("self-tuning has one trial per study: use --trial 1")
    return replace(draft, only=(study, trial))


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A checked request whose budgets are not measured yet; fields as in Experiment."""

    ruleset: Ruleset
    submissions: dict[str, PlannedSubmission]
    workloads: dict[str, Workload]
    tuning: Tuning
    studies: int
    first: int | None  # number of studies before results decide how many more; None for all
    trials: int
    search_space: str
    options: RunOptions
    only: tuple[int, int] | None

    def complete(
        self,
        out: Path,
        executor: Executor,
        accepted: Sequence[str] = (),
        announce: Callable[[str], object] = lambda line: None,
    ) -> Experiment:
        """Returns the experiment of `out`: its plan so far, extended by this draft.

        If budgets are in baseline steps, the baseline's step is timed first, unless its time is
        already in OUT/experiment.json.

        Args:
            out: Results tree.
            executor: Executor that times the baseline.
            accepted: Files of submissions that may have changed.
            announce: Receives a line before each timing.

        Raises:
            PlanError: The draft does not match the plan of `out`, or the nodes differ too much.
        """
        plan = self.preview(out, accepted)  # refuses before anything is timed
        measured, timed = {}, self.untimed(out)
        for number, name in enumerate(timed, 1):
            announce(f"timing the baseline: {name} ({number} of {len(timed)})")
            workload = self.workloads[name]
            measured[name] = self._rules(workload, self.baseline_step(workload, executor))
        return plan.model_copy(update={"workloads": {**plan.workloads, **measured}})

    def untimed(self, out: Path) -> list[str]:
        """Returns the workloads whose budgets need a timing that `out` does not have yet."""
        known = plan_of(out)
        planned = known.workloads if known else {}
        return [name for name in self.workloads if self._is_timed(name) and name not in planned]

    def preview(self, out: Path, accepted: Sequence[str] = ()) -> Experiment:
        """Returns what `complete` does, with nominal step times where it would measure them.

        Raises:
            PlanError: As for `complete`.
        """
        folders = {Path(planned.path).resolve() for planned in self.submissions.values()}
        if out.resolve() in folders:
            raise PlanError(f"{out}: is the folder of a submission; choose another --out")
        old = plan_of(out)
        known = {} if old is None else old.workloads
        planned = {}
        for name, workload in self.workloads.items():
            clock = ClockKind.STEPS if self._is_timed(name) else self.options.clock
            planned[name] = known.get(name) or self._rules(workload, None, clock)
        new = self._experiment(planned)
        return new if old is None else extend(old, new, out, accepted)

    def _is_timed(self, name: str) -> bool:
        return needs_baseline(self.workloads[name], self.ruleset, self.options.clock)

    def _experiment(self, workloads: Mapping[str, PlannedWorkload]) -> Experiment:
        return Experiment(
            ruleset=self.ruleset,
            submissions=self.submissions,
            workloads=dict(workloads),
            environment=environment.describe("cpu", self.options.cpus_per_trial),
            tuning=self.tuning,
            studies=self.studies,
            counts=None
            if self.first is None
            else {name: dict.fromkeys(workloads, self.first) for name in self.submissions},
            trials=self.trials,
            search_space=self.search_space,
            options=self.options,
            only=self.only,
        )

    def _rules(
        self, workload: Workload, step_seconds: float | None, clock: ClockKind | None = None
    ) -> PlannedWorkload:
        clock = clock or self.options.clock
        stop = self.options.max_steps
        return plan_workload(workload, self.ruleset, clock, step_seconds, stop)

    def baseline_step(self, workload: Workload, executor: Executor) -> float:
        """Returns the median step time of the ruleset's baseline, in seconds."""
        folder = loading.find(self.ruleset.baseline)
        seed = self.options.seed
        baseline = plan_submission(folder, "external", seed, 1, 1, SEARCH_SPACE_FILE)
        nominal = plan_workload(workload, self.ruleset, "steps", None)  # replaced when timing
        experiment = self._experiment({workload.name: nominal}).model_copy(
            update={"submissions": {folder.name: baseline}, "tuning": Tuning.EXTERNAL}
        )
        by_type = executor.time_baseline(experiment.spec(folder.name, workload.name, 0, 1))
        slowest, fastest = max(by_type.values()), min(by_type.values())
        if slowest > MAX_NODE_RATIO * fastest:
            times = ", ".join(f"{kind}: {t * 1e3:.3g} ms" for kind, t in sorted(by_type.items()))
            raise PlanError(
                f"{workload.name}: node types differ by over 10% in the baseline's step time "
                f"({times}); use nodes of one type"
            )
        return statistics.median(by_type.values())
