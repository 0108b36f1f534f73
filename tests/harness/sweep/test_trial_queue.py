"""The queue of waiting trials: gives the same order as a search through all of them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.sweep.pruner import Pruner
from harness.sweep.trial_queue import TrialQueue
from scoring.records import Order, Status, TrialResult
from scoring.rulesets import load
from tests.fixtures.sweeps import make_row, plan_toys


def plan(submissions=3, studies=3, trials=2, held_out=True):
    """Workloads of different budgets, one of them with a held-out variant."""
    toy = plan_toys().workloads["toy"]
    workloads = {
        name: toy.model_copy(update={"budget_seconds": budget})
        for name, budget in (("v", 100.0), ("w", 300.0), ("held", 300.0), ("x", 100.0))
    }
    scored = {"scored": ["v", "w", "x"], "held_out": {"held": "w"} if held_out else {}}
    ruleset = load("demo").model_copy(update=scored)
    experiment = plan_toys(
        *(f"s{n}" for n in range(submissions)), workloads=workloads, ruleset=ruleset,
        tuning="external", studies=studies, trials=trials,
    )  # fmt: skip
    for submission in experiment.submissions.values():
        object.__setattr__(submission, "points", [[{}] * trials] * studies)
    return experiment


def literal_next(waiting, parked, pruner, order, attempts):
    """Returns the first of the most urgent trials, by a search through all."""

    def urgency(spec):
        by_rank = pruner is not None and order is Order.COST
        last = pruner.rank(spec) if by_rank else (-spec.budget_seconds,)
        return pruner is not None and pruner.is_parked(spec), not attempts[spec.key], last

    if not waiting:
        return None
    found = min(waiting, key=urgency)
    return None if urgency(found)[0] and not parked else found


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32), order=st.sampled_from(Order), pruning=st.booleans(),
    held_out=st.booleans(),
)  # fmt: skip
def test_the_next_trial_equals_that_of_a_search_through_all(
    tmp_path_factory, seed, order, pruning, held_out
):
    experiment, rng = plan(held_out=held_out), np.random.default_rng(seed)
    out = tmp_path_factory.getbasetemp() / "nothing there"
    pruner = Pruner(experiment, out) if pruning else None
    attempts, running = Counter(), []
    waiting = list(experiment.specs())
    literal, queue = list(waiting), TrialQueue(pruner, order, attempts)
    for _ in range(200):
        if rng.random() < 0.5:
            parked = bool(rng.random() < 0.5)
            expected = literal_next(literal, parked, pruner, order, attempts)
            assert queue.pop(waiting, parked) is expected
            assert sorted(s.key for s in waiting) == sorted(
                s.key for s in literal if s is not expected
            )
            if expected is not None:
                literal.remove(expected)
                running.append(expected)
                attempts[expected.key] += rng.random() < 0.8  # else its process did not start
        elif running:
            spec = running.pop(rng.integers(len(running)))
            if rng.random() < 0.3:  # interrupted
                waiting.append(spec)
                literal.append(spec)
            elif pruner is not None:
                second = float(rng.choice([1, 2, 5, 9, 30]))
                met = [make_row(second, loss=0.5)] if rng.random() < 0.6 else []
                status = Status.REACHED if met else Status.OUT_OF_TIME
                if not met and rng.random() < 0.3:
                    status = Status.PRUNED
                pruner.learn(spec, TrialResult(status=status, rows=met, submission_seconds=second))


def test_another_list_resets_the_queue():
    specs = list(plan().specs())
    queue = TrialQueue(None, Order.COST, Counter())
    first, second = list(specs), list(specs)
    assert queue.pop(first, parked=True) is queue.pop(second, parked=True)
    assert len(first) == len(second) == len(specs) - 1


@pytest.mark.parametrize("order", Order)
def test_only_the_first_trial_of_each_changed_study_is_examined(tmp_path, monkeypatch, order):
    """The number of examined trials does not depend on how many trials a study has."""
    experiment = plan(submissions=40, studies=5, trials=5)
    pruner = Pruner(experiment, tmp_path)
    queue, waiting = TrialQueue(pruner, order, Counter()), list(experiment.specs())
    looked = Counter()
    parked = Pruner.is_parked
    monkeypatch.setattr(
        Pruner, "is_parked", lambda self, spec: looked.update([1]) or parked(self, spec)
    )
    (other,) = [
        s for s in waiting if (s.submission, s.workload, s.study, s.trial) == ("s9", "x", 4, 5)
    ]
    ended = TrialResult(status=Status.OUT_OF_TIME, submission_seconds=100.0)
    assert queue.pop(waiting, parked=False).workload in "vw"
    assert looked[1] <= 40 * 5 * 4
    looked.clear()
    for _ in range(100):
        queue.pop(waiting, parked=False)
        pruner.learn(other, ended)  # changes no deadline and no rank
    assert looked[1] == 0
    assert len(waiting) == 40 * 4 * 25 - 101
