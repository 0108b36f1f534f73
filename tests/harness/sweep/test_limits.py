"""Trials stopped on a prediction: by the same rule as in replays, and recorded as such."""

import numpy as np
import pytest

from harness.commands.history import limits_from
from harness.sweep.limits import Limits
from harness.sweep.options import SweepOptions
from harness.sweep.run import run_sweep
from scoring.leaderboard import make_leaderboard
from scoring.prediction import FRACTIONS, curves, limits, stops
from scoring.reading.read import read
from scoring.records import EvalRow, Failure, Goal, Status, TrialResult, UserError
from scoring.replay import logs
from scoring.rulesets.fixed_step import FixedStepRules
from scoring.tree import read_trial, trial_folder
from tests.fixtures.sweeps import Quiet, make_row, plan_toys
from tests.fixtures.toy import make_spec
from tests.scoring.boards import single
from tests.scoring.logs import BUDGET, write_logs


def history(folder, submissions=9, seed=0):
    """Logs in which trials that meet the target are always ahead, and the others far behind."""
    rng = np.random.default_rng(seed)
    trials = {}
    for number in range(submissions):
        for trial in (1, 2, 3):
            good = trial == 1 or (trial == 2 and rng.random() < 0.5)
            gap = rng.uniform(0.3, 0.6) if good else rng.uniform(2, 6)
            end = rng.uniform(40, 80) if good else 99.0
            curve = [(float(s), 0.5 + gap * (1 - s / 120)) for s in range(2, int(end), 3)]
            trials[f"s{number}", "v", 0, trial] = [*curve, (end, 0.5)] if good else curve
    return write_logs(folder, trials), single("v", trials=3)


def test_live_limits_stop_a_trial_at_the_first_row_after_the_second_of_the_replay(tmp_path):
    root, rules = history(tmp_path)
    results = read([root], rules, "external")
    found = logs(results)
    known = curves(results, found.met)
    stopped = stops(known, 0.2, found.scores)
    assert 0.1 < np.isfinite(stopped).mean() < 0.9
    for trial in results.trials:
        number = list(results.submissions).index(trial.submission)
        limit = limits(known, 0.2, found.scores, number)[0]
        mine = Limits(0.2, FRACTIONS.tolist(), {(trial.submission, "v"): limit.tolist()})
        spec = make_spec(
            submission=trial.submission, workload="v", budget_seconds=BUDGET,
            goal=Goal(metric="loss", direction="min", target=0.5),
        )  # fmt: skip
        read_ = trial.read()
        rows = [
            EvalRow(
                global_step=1, submission_seconds=seconds, cpu_seconds=0.0, eval_seconds=0.0,
                logging_seconds=0.0, total_seconds=0.0, metrics={"validation/loss": value},
            )
            for seconds, value in zip(read_.seconds, read_.values, strict=True)
        ]  # fmt: skip
        second = stopped[number, 0, 0, trial.trial - 1]
        for count in range(1, len(rows) + 1):
            if rows[count - 1].submission_seconds < found.met[number, 0, 0, trial.trial - 1]:
                forbidden = mine.exceeded_by(spec, rows[:count])
                assert forbidden == (second <= rows[count - 1].submission_seconds)


class Lagging:
    """Simulates trials that stay far from the target until their deadline."""

    def run(self, specs, driver):
        for spec in specs:
            driver.started(spec, {"node": "n"})
            for step in (1, 11, 21):
                driver.measured(spec, make_row(step, loss=9.0))
                if driver.deadline(spec) < step:
                    driver.ended(spec, TrialResult(status=Status.PRUNED, submission_seconds=step))
                    break
            else:
                driver.ended(spec, TrialResult(status=Status.OUT_OF_TIME))


@pytest.mark.parametrize(("limit", "status"), [(2.0, "predicted"), (20.0, "out_of_time")])
def test_trials_that_were_given_up_are_recorded_and_the_leaderboard_warns_of_them(
    tmp_path, limit, status
):
    experiment = plan_toys("a", "b")
    given = Limits(0.3, [0.1, 0.2], {("a", "toy"): [limit, limit]})
    run_sweep(experiment, tmp_path, Lagging(), Quiet(), limits=given)
    results = {s.submission: read_trial(trial_folder(tmp_path, s))[1] for s in experiment.specs()}
    assert results["a"].status == status
    assert results["b"].status is Status.OUT_OF_TIME
    board = make_leaderboard(read([tmp_path]))
    warnings = [warning for warning in board.warnings if "prediction" in warning]
    if status == "predicted":
        assert "at a risk of 0.3" in results["a"].message
        assert warnings == [
            "a: 1 trial stopped on a prediction (--pruning predict) count as misses: "
            "scores may differ from those of complete trials"
        ]
    else:
        assert warnings == []
    again = run_sweep(experiment, tmp_path, Lagging(), Quiet(), limits=given)
    assert not again.by_status  # a trial that was given up is done


def test_too_few_submissions_allow_no_prediction(tmp_path):
    root, rules = history(tmp_path, submissions=3)
    experiment = plan_toys("newcomer", ruleset=rules, tuning="external")
    with pytest.raises(UserError, match=r"3 submissions are too few .* at a risk below 0\.25;"):
        limits_from([root], experiment, 0.1, 0.01)


def test_runs_that_stop_at_the_same_step_are_not_predicted(tmp_path):
    root, rules = history(tmp_path)
    tests = FixedStepRules(p=0.001, loss_per_100_steps=0.0)
    rules = rules.model_copy(update={"fixed_step": tests})
    experiment = plan_toys("newcomer", ruleset=rules, tuning="external")
    with pytest.raises(UserError, match="all runs of a submission stop at the same step"):
        limits_from([root], experiment, 0.2, 0.01)


def test_limits_are_fitted_to_the_other_submissions_only(tmp_path):
    root, rules = history(tmp_path)
    toy = plan_toys("s5", "newcomer", ruleset=rules, tuning="external")
    experiment = toy.model_copy(update={"workloads": {"v": toy.workloads["toy"]}})
    gaps = limits_from([root], experiment, 0.2, 0.01).gaps
    results = read([root], rules, "external")
    found = logs(results)
    known = curves(results, found.met)
    assert gaps["s5", "v"] == limits(known, 0.2, found.scores, 5)[0].tolist()
    assert gaps["newcomer", "v"] == limits(known, 0.2, found.scores, None)[0].tolist()
    assert gaps["s5", "v"] != gaps["newcomer", "v"]


class DiesWhenGivenUp:
    """Simulates a trial whose process dies before it is notified that it was given up."""

    def run(self, specs, driver):
        waiting = list(specs)
        for attempt in (1, 2):
            spec = driver.next(waiting, wait=False)
            driver.started(spec, {"node": "n"})
            for step in (11, 21):
                driver.measured(spec, make_row(step, loss=9.0))
            assert driver.deadline(spec) == 0
            if attempt == 1:
                assert driver.lost(spec, Failure.WORKER_LOST, "gone", "")
                waiting.append(spec)
        driver.ended(spec, TrialResult(status=Status.PRUNED, submission_seconds=22.0))


def test_a_trial_that_was_given_up_and_lost_is_judged_again(tmp_path):
    experiment = plan_toys("a")
    given = Limits(0.3, [0.1], {("a", "toy"): [2.0]})
    run_sweep(
        experiment, tmp_path, DiesWhenGivenUp(), Quiet(), options=SweepOptions(), limits=given
    )
    (spec,) = experiment.specs()
    result = read_trial(trial_folder(tmp_path, spec))[1]
    assert (result.status, result.attempts, result.proof) == (Status.PREDICTED, 2, [])
