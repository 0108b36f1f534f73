"""Prediction on results it was not fitted to: by hand on small boards, and its bound."""

import numpy as np
import pytest

from scoring import rulesets
from scoring.calibration import Board, leaving_out_boards, leaving_out_submissions
from scoring.plain import read_json
from scoring.prediction import MOVED, limits, stops, stops_of
from scoring.reading.read import read
from tests.scoring.boards import INF, single
from tests.scoring.logs import write_logs
from tests.scoring.test_prediction import SHAPE, mean_credit, some_curves

RULES = single("v", studies=1, trials=1)


def board(tmp_path, name, late=(), count=6):
    """Submissions that come closer at one pace and meet the target at 50 s; `late` ones lag."""
    curves = {}
    for number in range(count):
        slow = 8.0 if number in late else 1.0
        values = [(second, 0.5 + slow * (1.1 - second / 50)) for second in (5.0, 15.0, 25.0, 40.0)]
        curves[f"s{number}", "v", 0, 1] = [*values, (50.0 + number, 0.4)]
    return Board.of(read([write_logs(tmp_path / name, curves)], RULES, "external"))


def test_a_submission_that_is_unlike_the_others_is_what_moves_scores(tmp_path):
    usual = board(tmp_path, "usual")
    found = leaving_out_submissions(usual, 0.2)
    assert (found.submissions, found.moved, found.worst_change) == (6, 0.0, 0.0)
    odd = board(tmp_path, "odd", late=(0,))
    times = [50.0 + n for n in range(6)]
    scores = [(4 - t / 50) / 3 for t in times]
    without = [0.0, *((4 - t / 51) / 3 for t in times[1:])]  # s0 is given up, s1 is the fastest
    expected = max(abs(a - b) for a, b in zip(scores, without, strict=True))
    found = leaving_out_submissions(odd, 0.2)
    assert found.moved == pytest.approx(1 / 6)
    assert found.worst_change == pytest.approx(expected)
    assert found.expected_change == pytest.approx(expected / 6)
    # s0 stops at 10 s, where curves are looked at first; the others are judged by s0 too
    assert found.saved_percent == pytest.approx(100 * 40 / (sum(times)))


def test_another_board_judges_those_that_are_not_on_it(tmp_path):
    usual, odd = board(tmp_path, "usual"), board(tmp_path, "odd", late=(0,))
    found = leaving_out_boards(odd, usual, "usual", 0.2)
    assert found.judged_by == "usual"
    assert found.moved == pytest.approx(1 / 6)
    back = leaving_out_boards(usual, odd, "odd", 0.2)
    assert back.worst_change == 0
    assert back.saved_percent == 0


def test_a_workload_that_the_other_board_lacks_is_not_pruned(tmp_path):
    odd = board(tmp_path, "odd", late=(0,))
    curves = {(f"s{n}", "w", 0, 1): [(10.0, 1.0), (50.0, 0.4)] for n in range(6)}
    logs = write_logs(tmp_path / "w", curves)
    other = Board.of(read([logs], single("w", studies=1, trials=1), "external"))
    assert leaving_out_boards(odd, other, "w", 0.5).saved_percent == 0


@pytest.mark.parametrize("bound", [0.0, 0.05, 0.2, 0.5])
def test_at_the_smallest_risk_no_known_submission_moves_a_score_by_more(bound):
    for seed in range(5):
        found = some_curves(np.random.default_rng(seed), spread=0.6)
        whole = mean_credit(found.met)
        chosen = limits(found, 1 / (SHAPE[0] + 1), mean_credit, None, bound)
        furthest = np.where(found.open & np.isfinite(found.met)[..., None], found.gaps, -np.inf)
        own = furthest.max((2, 3))
        with np.errstate(invalid="ignore"):
            factor = np.nanmax(
                np.where(np.isfinite(chosen), chosen / own.max(0), np.nan), initial=-1
            )
        if factor < 0:  # nothing may be stopped
            assert (chosen == INF).all()
            continue
        for submission in range(SHAPE[0]):
            rest = np.delete(own, submission, 0)
            enough = np.isfinite(rest).sum(0) >= 3
            limit = np.where(enough, factor * rest.max(0), INF)
            times = found.met.copy()
            stopped = stops_of(found, submission, limit)
            times[submission][times[submission] > stopped] = INF
            assert np.abs(mean_credit(times) - whole).max() <= bound


def test_a_smaller_change_never_stops_more():
    found = some_curves(np.random.default_rng(3), spread=0.6)
    counts = [(stops(found, 0.2, mean_credit, b) < INF).sum() for b in (0.0, 0.02, 0.1, 0.5)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_replay_reports_both_ways_between_two_boards(tmp_path, chronograd):
    board(tmp_path, "usual"), board(tmp_path, "odd", late=(0,))
    (tmp_path / "toy.toml").write_text(
        'studies = 1\ntrials = 1\nself_tuning_budget_factor = 1\nr_max = 4\nscored = ["v"]\n'
        '[workloads.v]\nmetric = "loss"\ndirection = "min"\nvalidation_target = 0.5\n'
        "budget_seconds = 100\n"
    )
    code, out, _ = chronograd(
        "replay", "odd", "--ruleset", "toy.toml", "--other-board", "usual", "--json", "r.json"
    )
    assert code == 0
    assert "worst change" in out
    found = read_json(tmp_path / "r.json")["calibration"]
    assert {name: len(rows) for name, rows in found.items()} == {"odd": 8, "usual": 8}
    by = [(row["judged_by"], row["risk"]) for row in found["odd"]]
    assert by[0] == ("the others on the board", 0.1)
    assert by[4] == ("usual", 0.1)
    assert rulesets.load(str(tmp_path / "toy.toml")).scored == ("v",)
    assert max(row["worst_change"] for row in found["odd"]) > MOVED
