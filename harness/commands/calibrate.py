"""The target-setting procedure (Dahl et al. 2023, section 4.3), at the size of a laptop.

Every submission with a `target_setting_search_space.json` is tuned by quasi-random search; each
trial runs for 75% of the step budget. The best point is run again with 20 seeds. The target is the
median of the best validation values, so that most seeds reach it before the budget ends. Trials run
on the step clock, so that the result does not depend on the machine's speed.

The targets of a suite with a ruleset of its own are what the ruleset's baseline reaches within the
budget on the machine that calibrates.
"""

from __future__ import annotations

import datetime
import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import environment
from harness.spec import LoadWorkload, Workload
from harness.submission import loading
from harness.sweep.callback import SweepCallback
from harness.sweep.plan import PlanError
from harness.sweep.request import Request, check
from harness.sweep.run import Executor, run_sweep
from scoring import rulesets
from scoring.experiment import Experiment
from scoring.plain import write_json
from scoring.records import ClockKind, EvalRow, RunOptions, TrialResult, TrialSpec, Until
from scoring.rulesets import Ruleset, WorkloadRules
from scoring.rulesets.text import ruleset_text
from scoring.tree import read_trial, trial_folder
from scoring.writing import write_text

SEARCH_SPACE_FILE = "target_setting_search_space.json"
BUDGET_FRACTION = 0.75
SEEDS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Finds the targets of one workload.

    Attributes:
        load_workload: Loads a workload, given its name, the data directory and the device.
        name: Name of the workload.
        trials: Number of trials per submission in the search.
        out: Folder for two results trees, `search` and `seeds`, and NAME.target.json; trials that
            are already there are not run again.
        executor: Runs the trials.
        callback: Is notified of the progress.
        options: How trials run; the clock, `until` and `max_steps` are replaced.
    """

    load_workload: LoadWorkload
    name: str
    trials: int
    out: Path
    executor: Executor
    callback: SweepCallback
    options: RunOptions

    def run(self) -> dict[str, Any]:
        """Writes OUT/NAME.target.json and returns it: the targets, and how they were found."""
        workload = self.load_workload(self.name, self.options.data_dir, "cpu")
        optimum = workload.optimum()
        if optimum is None:
            found = self._tune(workload)
        else:
            found = {
                "validation_target": optimum.pop("validation"),
                "test_target": optimum.pop("test"),
                "method": "exact optimum",
                **optimum,
            }
        targets = {
            "workload": self.name,
            "metric": workload.target_metric_name,
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            **found,
            "versions": environment.describe("cpu", 1)["versions"],
        }
        write_json(self.out / f"{self.name}.target.json", targets)
        return targets

    def _tune(self, workload: Workload) -> dict[str, Any]:
        """Runs the search and the reruns of its best point; returns the targets with details."""
        search = self._search(workload)
        run_sweep(search, self.out / "search", self.executor, self.callback)
        best = _best_trials(workload, search, self.out / "search")
        winner, _ = max(best.values(), key=lambda found: _rank(workload, found[1]))
        point = search.submissions[winner.submission].model_copy(
            update={"points": [[winner.hyperparameters]] * SEEDS}
        )
        seeds = search.model_copy(
            update={"studies": SEEDS, "trials": 1, "submissions": {winner.submission: point}}
        )
        run_sweep(seeds, self.out / "seeds", self.executor, self.callback)
        results = [result for _, result in _trials(seeds, self.out / "seeds")]
        rows = [_best_row(workload, result) for result in results if result.rows]
        if len(rows) < SEEDS:
            raise PlanError(
                f"{self.out / 'seeds'}: {SEEDS - len(rows)} of the {SEEDS} reruns of the best "
                "point have no evaluation; see `chronograd status`, and remove the folder to run "
                "them again"
            )
        validation = [row.metrics[winner.goal_column] for row in rows]
        column = f"test/{workload.target_metric_name}"
        test = [row.metrics[column] for row in rows if "test" in workload.splits]
        return {
            "validation_target": statistics.median(validation),
            "test_target": statistics.median(test) if test else None,
            "method": "median over seeds of the best point of a quasi-random search",
            "max_steps": search.options.max_steps,
            "trials_per_submission": self.trials,
            "seed": search.options.seed,
            "best_of_each_submission": {
                name: {"validation": row.metrics[spec.goal_column], **(spec.hyperparameters or {})}
                for name, (spec, row) in best.items()
            },
            "winner": winner.submission,
            "validation_by_seed": validation,
            "test_by_seed": test,
        }

    def _search(self, workload: Workload) -> Experiment:
        """Returns the plan of the search: one study of many trials per submission."""
        steps = workload.budget_steps or workload.step_hint
        request = Request(
            submissions=[folder.name for folder in _target_setting_submissions()],
            workloads=[workload.name],
            ruleset=rulesets.load("mini"),
            tuning="external",
            studies=1,
            trials=self.trials,
            search_space=Path(SEARCH_SPACE_FILE),
            options=replace(
                self.options,
                clock=ClockKind.STEPS,
                until=Until.BUDGET,
                max_steps=math.ceil(BUDGET_FRACTION * steps),
            ),
        )
        return check(request, self.load_workload).complete(self.out / "search", self.executor)


def calibrate_suite(
    request: Request,
    load_workload: LoadWorkload,
    out: Path,
    executor: Executor,
    callback: SweepCallback,
) -> Ruleset:
    """Finds the targets of a ruleset: what its baseline reaches within the budget.

    A workload's target is the median over studies of the best value of a study's trials. Writes
    OUT/NAME.toml, the ruleset with these targets.

    Args:
        request: The workloads and the ruleset; submissions and `until` are replaced.
        load_workload: Loads a workload, given its name, the data directory and the device.
        out: Folder of the results tree `baseline` and of the ruleset.
        executor: Runs the trials.
        callback: Is notified of the progress.

    Raises:
        PlanError: A study has no evaluation.
    """
    rules = request.ruleset
    options = replace(request.options, until=Until.BUDGET)
    asked = replace(request, submissions=[rules.baseline], options=options)
    tree = out / "baseline"
    experiment = check(asked, load_workload).complete(tree, executor)
    run_sweep(experiment, tree, executor, callback)
    found = dict(rules.workloads)
    for name, planned in experiment.workloads.items():
        target = statistics.median(_best_by_study(experiment, tree, name))
        stated = found.get(name, WorkloadRules()).model_dump()
        stated |= {**asdict(planned.goal), "validation_target": target}
        found[name] = WorkloadRules(**{n: v for n, v in stated.items() if n != "target"})
    calibrated = rules.model_copy(update={"workloads": found, "provisional": ""})
    comment = (
        f"{rules.name} with targets found on {datetime.datetime.now(tz=datetime.UTC).date()}: the "
        f"median over {experiment.studies} studies of the best value that {rules.baseline} has "
        "within the budget. Written by `chronograd calibrate --suite`."
    )
    write_text(out / f"{rules.name}.toml", ruleset_text(calibrated, comment))
    return calibrated


def _best_by_study(experiment: Experiment, out: Path, workload: str) -> list[float]:
    """Returns the best validation value of each study's trials at any evaluation."""
    goal = experiment.workloads[workload].goal
    best = [math.nan] * experiment.studies
    for spec, result in _trials(experiment, out):
        for row in result.rows if spec.workload == workload else ():
            if goal.better(value := row.metrics[spec.goal_column], best[spec.study]):
                best[spec.study] = value
    if any(map(math.isnan, best)):
        raise PlanError(
            f"{out}: a study on {workload} has no evaluation; see `chronograd status {out}`"
        )
    return best


def _target_setting_submissions() -> list[Path]:
    """Returns the submissions that have a search space for target setting."""
    return sorted(
        file.parent for file in loading.library().glob(f"external_tuning/*/{SEARCH_SPACE_FILE}")
    )


def _best_trials(
    workload: Workload, experiment: Experiment, out: Path
) -> dict[str, tuple[TrialSpec, EvalRow]]:
    """Returns, by submission, the trial with the best validation value at any evaluation."""
    best: dict[str, tuple[TrialSpec, EvalRow]] = {}
    for spec, result in _trials(experiment, out):
        if result.rows:
            found = (spec, _best_row(workload, result))
            best[spec.submission] = max(
                best.get(spec.submission, found), found, key=lambda f: _rank(workload, f[1])
            )
    if not best:
        raise PlanError(f"{out}: no trial was evaluated; see `chronograd status {out}`")
    return best


def _trials(experiment: Experiment, out: Path) -> Iterable[tuple[TrialSpec, TrialResult]]:
    return (read_trial(trial_folder(out, spec)) for spec in experiment.specs())


def _best_row(workload: Workload, result: TrialResult) -> EvalRow:
    return max(result.rows, key=lambda row: _rank(workload, row))


def _rank(workload: Workload, row: EvalRow) -> float:
    """Returns a sort key: larger is better, NaN is worst."""
    value = row.metrics[f"validation/{workload.target_metric_name}"]
    if math.isnan(value):
        return -math.inf
    return -value if workload.target_direction == "min" else value
