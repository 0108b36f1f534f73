"""Winning points, and those that suggest that a search space is too narrow."""

import csv
import io
import json

import pytest

from scoring.hyperparameters import winners
from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.report.slices import slices
from scoring.report.tables import to_csv, to_json
from scoring.tree import write_trial
from tests.scoring.trees import make_result, make_row, make_spec, write_tree


def board_of(tmp_path, points, seconds=None, space=None):
    """A board of one submission whose trial n has the n-th point, the second one the fastest."""
    times = seconds or [3.0, 1.0, 2.0, 4.0][: len(points)]
    trials = {("a", "w", 0, n): [] for n in range(1, len(points) + 1)}
    tree = write_tree(tmp_path / "tree", trials)
    folder = tmp_path / "a"
    folder.mkdir()
    if space is not None:
        (folder / "tuning_search_space.json").write_text(json.dumps(space))
    plan = json.loads((tree / "experiment.json").read_text())
    plan["submissions"] = {"a": {"path": str(folder), "hash": "0"}}
    (tree / "experiment.json").write_text(json.dumps(plan))
    for n, (point, time) in enumerate(zip(points, times, strict=True), 1):
        rows = [make_row(time / 2, 1.0), make_row(time, 0.5)] if time else [make_row(9.0, 0.7)]
        status = None if time else "out_of_time"
        result = make_result(rows, status, batch_size=8, environment={"host": "h"})
        write_trial(tree, make_spec("a", "w", 0, n, hyperparameters=point), result)
    return make_leaderboard(read([tree]), resamples=5)


def test_the_winning_point_is_that_of_the_fastest_trial(tmp_path):
    board = board_of(tmp_path, [{"lr": 0.1}, {"lr": 0.3}, {"lr": 0.2}])
    winner = winners(board)["a", "w"]
    assert (winner.trial.trial, winner.point) == (2, {"lr": 0.3})
    (row,) = csv.DictReader(io.StringIO(to_csv(board)))
    assert (row["w/hparams.lr"], row["w/trial"], row["w/host"]) == ("0.3", "study_0/trial_2", "h")
    assert (row["w/status"], row["w/batch_size"], row["w/seed"]) == ("reached", "8", "1")
    (standing,) = to_json(board)["submissions"]
    won = standing["winning_trials"]["w"]
    assert (won["trial"], won["hyperparameters"], won["batch_size"]) == (2, {"lr": 0.3}, 8)


def test_what_never_met_its_target_has_no_winner(tmp_path):
    board = board_of(tmp_path, [{"lr": 0.1}], [0])
    assert winners(board) == {}
    (row,) = csv.DictReader(io.StringIO(to_csv(board)))
    assert row["w/trial"] == ""


def sliced(board):
    return slices(board, "w", winners(board))


@pytest.mark.parametrize(
    ("point", "space", "edges"),
    [
        (0.3, None, ["lr 0.3 is the highest of the values tried"]),
        (0.15, None, []),
        (0.05, None, ["lr 0.05 is the lowest of the values tried"]),
        (0.3, [{"lr": lr} for lr in (0.1, 0.2, 0.3, 0.9)], []),
        (0.3, [{"lr": lr} for lr in (0.1, 0.2, 0.3)],
         ["lr 0.3 is the highest of the search space"]),
        (0.3, [{"lr": 7}], ["lr 0.3 is the highest of the values tried"]),  # another file by now
        (0.3, {"lr": {"min": 0.0, "max": 1.0}}, []),
        (0.3, {"lr": {"min": 0.0, "max": 0.3}}, ["lr 0.3 is at the upper end of the search space"]),
        (0.011, {"lr": {"min": 0.01, "max": 10, "scaling": "log"}},
         ["lr 0.011 is at the lower end of the search space"]),
        (0.1, {"lr": {"min": 0.01, "max": 10, "scaling": "log"}}, []),
        (0.3, {"lr": {"feasible_points": [0.1, 0.2, 0.3]}},
         ["lr 0.3 is the highest of the search space"]),
        (0.3, "nonsense", ["lr 0.3 is the highest of the values tried"]),
    ],
)  # fmt: skip
def test_a_winner_on_the_edge_is_named(tmp_path, point, space, edges):
    board = board_of(tmp_path, [{"lr": 0.1}, {"lr": point}, {"lr": 0.2}], space=space)
    assert winners(board)["a", "w"].edges == edges


def test_of_two_values_none_is_called_an_edge(tmp_path):
    board = board_of(tmp_path, [{"lr": 0.1}, {"lr": 0.3}])
    assert winners(board)["a", "w"].edges == []


def test_a_slice_shows_every_trial_and_the_hyperparameters_that_vary(tmp_path):
    points = [{"lr": 0.001, "fixed": 1, "kind": "x"}, {"lr": 0.1, "fixed": 1, "kind": "y"}]
    points += [{"lr": 1.0, "fixed": 1, "kind": "x"}]
    figure = sliced(board_of(tmp_path, points, [3.0, 1.0, 0]))
    assert [ax.get_xlabel() for ax in figure.axes] == ["kind", "lr"]
    lr = figure.axes[1]
    assert lr.get_xscale() == "log"
    dots = {line.get_marker(): [] for line in lr.lines}
    for line in lr.lines:
        dots[line.get_marker()].append((*line.get_xdata(), *line.get_ydata()))
    assert dots["o"] == [(0.001, 3.0), (0.1, 1.0), (0.1, 1.0)]  # the last is the winner's ring
    ((x, y),) = dots["x"]
    assert (x, y > 3.0) == (1.0, True)
    figure.draw_without_rendering()


def test_where_no_trial_met_the_target_a_slice_shows_the_metric(tmp_path):
    figure = sliced(board_of(tmp_path, [{"lr": 0.1}, {"lr": 0.2}], [0, 0]))
    assert figure.axes[0].get_ylabel() == "best validation loss"
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[0.7], [0.7]]


@pytest.mark.parametrize("points", [[{}, {}], [{"lr": 1}, {"lr": 1}]])
def test_nothing_that_varies_gives_no_slice(tmp_path, points):
    assert sliced(board_of(tmp_path, points)) is None
