"""The index of a trial in arrays over submissions, workloads, studies and trials."""

from itertools import product

from scoring.grid import Grid
from tests.scoring.trees import make_spec


def test_every_trial_has_its_own_index():
    names, workloads = ["b", "a"], ["v", "w", "v_variant"]
    grid = Grid(names, workloads, 2, 3, {"v_variant": "v", "x_variant": "x"})
    assert grid.shape == (2, 3, 2, 3)
    assert grid.held_out == {2: 0}
    trials = product(names, workloads, range(2), range(1, 4))
    specs = [make_spec(submission=s, workload=w, study=k, trial=t) for s, w, k, t in trials]
    assert [grid.place(spec) for spec in specs] == list(product(*map(range, grid.shape)))
