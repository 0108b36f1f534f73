"""Mid-run losses as predictions: against scipy's tau and the facts measured on track 3."""

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from scoring.fixed_step import make_board
from scoring.loss_prediction import calibrations, in_words, rankings
from scoring.reading.fixed_step import read_runs
from tests.scoring.test_fixed_step import SHARED, TRACK3
from tests.scoring.track3 import write_log


def write_curves(folder, entries=9, runs=2):
    """Entries whose losses at step 100 say nothing, and at step 900 everything, of their stops."""
    rng = np.random.default_rng(3)
    for entry in range(entries):
        stop = 1000 + 10 * entry
        early = 4 + rng.random()
        for run in range(runs):
            losses = {100: early + run / 1000, 500: 3.5 - entry / 100, 900: 3.3 + entry / 1000}
            write_log(folder / f"e{entry}" / f"{run}.txt", losses | {stop: 3.277 + run / 1000})
    return make_board(read_runs([folder], TRACK3))


def test_tau_is_scipy_s_over_the_entries(tmp_path):
    board = write_curves(tmp_path)
    found = {ranking.step: ranking for ranking in rankings(board)}
    assert list(found) == [100, 500, 900]
    stops = [1000 + 10 * entry for entry in range(9)]
    for step, ranking in found.items():
        means = [
            np.mean([run.losses[run.at(step)] for run in board.result(f"e{entry}").entry.runs])
            for entry in range(9)
        ]
        assert ranking.tau == pytest.approx(stats.kendalltau(means, stops).statistic)
        assert (ranking.entries, ranking.alike) == (9, (ranking.tau + 1) / 2)
    assert found[500].tau == -1
    assert "mid-run losses rank these entries badly: at step 500 tau is -1.00" in in_words(
        list(found.values())
    )


def test_nothing_is_said_where_losses_rank_well(tmp_path):
    found = [ranking for ranking in rankings(write_curves(tmp_path)) if ranking.tau > 0.5]
    assert in_words(found) == ""


def test_stops_are_calibrated_with_growing_risk(tmp_path):
    found = calibrations(write_curves(tmp_path))
    assert [c.risk for c in found] == [0.1, 0.2, 0.3, 0.5]
    assert all(0 <= c.moved <= 1 and 0 <= c.saved_percent < 100 for c in found)
    assert all(a.saved_percent <= b.saved_percent for a, b in pairwise(found))
    assert found[0].saved_percent == 0  # with nine entries no risk of 0.1 can be promised


def test_replay_prints_and_writes_both(chronograd, tmp_path):
    write_curves(tmp_path / "LOGS")
    code, out, err = chronograd("replay", "LOGS", "--ruleset", "track3", "--json", "r.json")
    assert code == 0, err
    assert "rank these entries badly" in out + err
    data = json.loads((tmp_path / "r.json").read_text())
    assert [ranking["step"] for ranking in data["rankings"]] == [100, 500, 900]
    assert len(data["calibration"]) == 4


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/track3")
def test_tau_on_track_3_is_that_of_the_facts():
    board = make_board(read_runs([], TRACK3, curves=SHARED / "curves.csv.xz"))
    found = {ranking.step: ranking.tau for ranking in rankings(board)}
    facts = {125: 0.53, 500: 0.22, 1000: 0.23, 1500: 0.28, 2000: 0.56, 2500: 0.71}
    assert found == pytest.approx(facts, abs=0.02)
    assert "do not choose between similar optimizers" in in_words(rankings(board))
