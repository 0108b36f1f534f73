"""Time to target: hand-worked."""

import math

import pytest

from scoring.leaderboard import make_leaderboard
from scoring.read import read_tree
from scoring.records import Goal
from scoring.times import first_hit, medians, studies_reached, study_times
from tests.scoring.trees import make_row, make_spec, write_tree


def board_of(tmp_path, trials, **plan):
    return make_leaderboard(read_tree(write_tree(tmp_path, trials, **plan)))


@pytest.mark.parametrize(
    ("curve", "seconds"),
    [
        ([(1, 0.9), (2, 0.5), (3, 0.4)], 2),  # meeting it exactly is meeting it
        ([(1, 0.9), (2, 0.4), (3, 0.9)], 2),  # leaving it again changes nothing
        ([(1, math.nan), (2, 0.4)], 2),  # NaN meets nothing, but ends nothing
        ([(1, -math.inf)], 1),
        ([(100.0, 0.4)], 100),  # at the budget is within it
        ([(100.5, 0.4)], None),  # a hit over the budget does not count
        ([(1, 0.9), (2, math.nan)], None),
        ([], None),
    ],
)
def test_the_first_evaluation_that_meets_the_goal_within_the_budget_counts(curve, seconds):
    hit = first_hit(make_spec(), [make_row(*point) for point in curve])
    assert (hit and hit.submission_seconds) == seconds


def test_a_metric_to_maximise_is_met_from_above():
    goal = Goal(metric="accuracy", direction="max", target=0.9)
    rows = [make_row(t, v, metric="accuracy") for t, v in [(1, 0.8), (2, 0.9), (3, 0.95)]]
    assert first_hit(make_spec(goal=goal), rows) is rows[1]


def test_an_evaluation_without_the_metric_is_no_hit():
    assert first_hit(make_spec(), [make_row(1, 0.1, metric="accuracy")]) is None


def test_the_fastest_trial_counts_by_time_not_by_its_number_of_evaluations(tmp_path):
    early_index = [make_row(8.0, 0.5, step=10)]
    early_time = [make_row(t, v, step=s) for t, v, s in [(1, 0.9, 50), (2, 0.8, 70), (3, 0.5, 90)]]
    results = read_tree(
        write_tree(tmp_path, {("a", "w", 0, 1): early_index, ("a", "w", 0, 2): early_time})
    )
    counting = study_times(results.trials, results.experiment.plan).loc[("a", "w", 0)]
    assert counting.to_dict() == {"seconds": 3.0, "steps": 90.0, "trial": 2.0}


def test_of_equally_fast_trials_the_first_counts(tmp_path):
    results = read_tree(write_tree(tmp_path, {("a", "w", 0, n): 4.0 for n in (3, 2)}))
    assert study_times(results.trials, results.experiment.plan)["trial"].item() == 2


@pytest.mark.parametrize(
    ("times", "median"),
    [
        ([3, 1, 2], 2),
        ([1, 2], 1.5),  # the mean of the middle two
        ([1, 2, 3, 10], 2.5),
        ([1, 2, math.inf], 2),
        ([1, math.inf], math.inf),
        ([1, 2, math.inf, math.inf], math.inf),
        ([math.inf, math.inf], math.inf),
    ],
)
def test_the_median_over_studies_takes_misses_as_infinite(tmp_path, times, median):
    rows = {t: [make_row(1.0, 0.9)] for t in times if math.isinf(t)}  # never meets the goal
    trials = {("a", "w", k, 1): rows.get(t, t) for k, t in enumerate(times)}
    results = read_tree(write_tree(tmp_path, trials))
    studies = study_times(results.trials, results.experiment.plan)
    assert medians(studies, "seconds").loc["a", "w"] == median
    assert studies_reached(studies).loc["a", "w"] == sum(map(math.isfinite, times))


def test_missing_studies_count_as_infinite(tmp_path):
    board = board_of(tmp_path, {("a", "w", 0, 1): 1.0}, studies=3)
    assert board.times.loc["a", "w"] == math.inf
    assert board.reached.loc["a", "w"] == 1


def test_a_missing_trial_leaves_the_study_to_the_others(tmp_path):
    board = board_of(tmp_path, {("a", "w", 0, 2): 7.0}, trials_per_study=3)
    assert board.times.loc["a", "w"] == 7.0


def test_a_tree_without_a_single_trial_scores_nothing(tmp_path):
    tree = write_tree(tmp_path, {("a", "w", 0, 1): 1.0, ("b", "w", 0, 1): 2.0})
    (tree / "submissions").rename(tree / "elsewhere")
    board = make_leaderboard(read_tree(tree))
    assert board.standings["score"].tolist() == [0.0, 0.0]
    assert board.standings["missing"].tolist() == [1, 1]
