"""Targets at a fraction of the budget, against a literal loop, and rulesets as TOML."""

import math
import statistics

import pytest

from scoring import rulesets
from scoring.reading.read import read
from scoring.records import UserError
from scoring.rulesets.text import ruleset_text
from scoring.short_targets import short_ruleset, short_targets
from tests.scoring.logs import WORKLOAD, make_rules, write_logs

FRACTION = 0.3  # of 100 seconds
RULES = make_rules(
    held_out={}, scored=("up", "down"), suites={},
    workloads={
        "up": {**WORKLOAD, "direction": "max", "step_hint": 1000},
        "down": {**WORKLOAD, "step_hint": 77},
    },
)  # fmt: skip


def curves(workload):
    """Values of three submissions, three studies, two trials, each 7 seconds; one never starts."""
    return {
        (f"s{s}", workload, study, trial): [
            (7.0 * (n + 1), math.sin(3 * s + 5 * study + 7 * trial + n), 10 * (n + 1))
            for n in range(12)
        ]
        for s in range(3)
        for study in range(3)
        for trial in (1, 2)
    }


def expected(trials, best):
    """The median over submissions of the median over studies of the best value by then."""
    found = []
    for name in sorted({key[0] for key in trials}):
        of_studies = [
            best(
                value
                for key, curve in trials.items()
                if (key[0], key[2]) == (name, study)
                for seconds, value, _ in curve
                if seconds <= 30
            )
            for study in range(3)
        ]
        found.append(statistics.median(of_studies))
    return statistics.median(found)


@pytest.fixture
def results(tmp_path):
    trials = {**curves("up"), **curves("down")}
    return read([write_logs(tmp_path / "logs", trials)], RULES)


def test_targets_are_those_of_a_literal_loop(results):
    up, down = short_targets(results, FRACTION)
    assert (up.workload, up.goal.direction, down.goal.direction) == ("up", "max", "min")
    assert up.goal.target == pytest.approx(expected(curves("up"), max), rel=1e-5)
    assert down.goal.target == pytest.approx(expected(curves("down"), min), rel=1e-5)
    assert (up.steps, down.steps) == (300, 23)
    assert up.rules.eval_period_steps == 30
    assert up.step_seconds == pytest.approx(0.7)
    assert up.hours == pytest.approx(300 * 0.7 / 3600)
    assert [target.workload for target in short_targets(results, FRACTION, ["down"])] == ["down"]


def test_what_cannot_be_derived_is_refused(results):
    for fraction in (0.0, 1.5, math.nan):
        with pytest.raises(UserError, match="--fraction"):
            short_targets(results, fraction)
    with pytest.raises(UserError, match="up: no submission was evaluated within"):
        short_targets(results, 0.01)
    with pytest.raises(UserError, match="no workload 'left'"):
        short_targets(results, FRACTION, ["left"])


def test_the_ruleset_is_read_as_it_was_made_and_boards_say_that_it_is_provisional(
    results, tmp_path
):
    made, comment = short_ruleset("short", results, short_targets(results, FRACTION), FRACTION)
    file = tmp_path / "short.toml"
    file.write_text(ruleset_text(made, comment))
    loaded = rulesets.load(str(file))
    assert loaded == made
    assert loaded.suite("short") == ("up", "down")
    assert "30% of the budget" in loaded.provisional
    board = read([tmp_path / "logs"], loaded.model_copy(update={"workloads": RULES.workloads}))
    assert any("targets are provisional" in line for line in board.remarks)
    assert not any("provisional" in line for line in results.remarks)


@pytest.mark.parametrize("name", rulesets.names())
def test_every_ruleset_survives_being_written(name, tmp_path):
    rules = rulesets.load(name)
    file = tmp_path / f"{name}.toml"
    file.write_text(ruleset_text(rules, "A comment\nof two lines."))
    assert rulesets.load(str(file)) == rules
