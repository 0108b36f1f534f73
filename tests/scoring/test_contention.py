"""Trials without their CPUs are reported, but not where this is unknown or irrelevant."""

import dataclasses

import pytest

from scoring.contention import contended
from scoring.leaderboard import make_leaderboard
from scoring.reading.results import Run
from tests.scoring.boards import make_results, single


def results(shares, clock="wall", seconds=10.0, cpus=2):
    made = make_results(
        single("w", studies=1, trials=len(shares)),
        {("a", "w", 0, n): seconds for n in range(1, len(shares) + 1)}, clock=clock,
    )  # fmt: skip
    used = [None if share is None else share * seconds * (cpus or 1) for share in shares]
    trials = [
        dataclasses.replace(trial, run=Run(cpus=cpus, cpu_seconds=cpu_seconds))
        for trial, cpu_seconds in zip(made.trials, used, strict=True)
    ]
    return dataclasses.replace(made, trials=trials)


def test_trials_that_shared_their_cpus_are_named_on_the_board():
    found = results([1.0, 0.25, 0.899, 0.901])
    line = (
        "a on w: 2 of 4 trials had less than 90% of their CPUs (the lowest 25%): other work "
        "slowed them down, so ratios of their times are unreliable"
    )
    assert contended(found) == [line]
    assert line in make_leaderboard(found, resamples=10).remarks


@pytest.mark.parametrize(
    "quiet",
    [
        results([1.0, 0.95]),
        results([0.2, 0.2], clock="steps"),  # times are counted, not measured
        results([0.2, 0.2], seconds=0.5),  # too short to say
        results([0.2, 0.2], cpus=None),  # on GPUs processes wait for the device
        results([None, None]),  # not recorded
    ],
)
def test_there_is_no_line_if_nothing_is_wrong_or_known(quiet):
    assert contended(quiet) == []
