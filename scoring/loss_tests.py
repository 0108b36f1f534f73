"""Tests of mean losses: of an entry against the target, and of two entries against each other.

The statistic of an entry is the distance of its mean loss from the target times the square root of
its number of runs. The statistic of a pair is the difference of the mean losses, corrected for
different stopping steps, over the root of 1/n_a + 1/n_b. Both have the unit of the loss; divided by
sigma, they are distributed as a standard normal variable where nothing but luck is at work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scoring.noise import Noise
from scoring.reading.runs import Entry
from scoring.records import Goal
from scoring.rulesets.fixed_step import FixedStepRules

MOST_RUNS = 1_000_000  # what these many runs would not decide, no number decides
_DIGITS = 9  # of a statistic, so that one that equals the threshold on paper is equal


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTest:
    """One test, of an entry or a pair.

    Attributes:
        statistic: In units of the loss; negative infinity if a run diverged.
        p: The probability of such a statistic by luck (one-sided).
        passed: Whether the statistic is at least the threshold.
        more_runs: How many more runs, on each side of a pair, would decide if the means stayed as
            they are; 0 if the test is passed, None if no number would.
    """

    statistic: float
    p: float
    passed: bool
    more_runs: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One entry of the board.

    Attributes:
        entry: Its runs.
        rank: Its rank among the valid entries by steps, then by loss; None if it is not valid.
        steps: The stopping step at which it is tested; None if it cannot be tested.
        losses: The loss of each run at that step.
        mean: Their mean: infinite if a run diverged, NaN if there is no stopping step.
        deviation: Their standard deviation; NaN for fewer than two finite losses.
        test: The test against the target; None if it cannot be tested.
        refused: Why it cannot be tested; "" if it can.
        valid_from: The smallest step at which the test would be passed, if the entry stopped there;
            None if there is none.
        looked_at: The number of steps at which all of its runs were evaluated.
    """

    entry: Entry
    rank: int | None
    steps: int | None
    losses: list[float]
    mean: float
    deviation: float
    test: LossTest | None
    refused: str
    valid_from: int | None
    looked_at: int

    @property
    def name(self) -> str:
        """The name of the entry."""
        return self.entry.name

    @property
    def valid(self) -> bool:
        """Whether the entry passed its test."""
        return self.test is not None and self.test.passed


@dataclass(frozen=True, slots=True)
class LossTests:
    """Tests entries and pairs by the rules of a board.

    Attributes:
        rules: The rules.
        goal: The target.
        noise: The deviation over seeds.
    """

    rules: FixedStepRules
    goal: Goal
    noise: Noise

    @property
    def threshold(self) -> float:
        """The statistic from which a test is passed."""
        return self.rules.threshold or self.noise.critical(self.rules.p) * self.noise.sigma

    def mean(self, losses: Sequence[float]) -> float:
        """The mean of the losses: the worst possible value if a run diverged."""
        if all(map(math.isfinite, losses)):
            return math.fsum(losses) / len(losses)
        return math.inf if self.goal.direction == "min" else -math.inf

    def entry(self, losses: Sequence[float]) -> LossTest:
        """Whether the mean loss is better than the target."""
        lead = self._lead(self.mean(losses), self.goal.target)
        return self._test(lead, lambda more: 1 / math.sqrt(len(losses) + more))

    def pair(
        self, losses: tuple[Sequence[float], Sequence[float]], steps: tuple[int, int]
    ) -> LossTest:
        """Whether the first entry is better than the second, corrected for their stopping steps."""
        first, second = map(self.mean, losses)
        worth = self.rules.loss_per_100_steps / 100 * (steps[1] - steps[0])
        counts = [len(group) for group in losses]
        return self._test(
            self._lead(first, second) + worth,
            lambda more: math.sqrt(sum(1 / (count + more) for count in counts)),
        )

    def _lead(self, loss: float, other: float) -> float:
        """How much better a loss is than another."""
        return other - loss if self.goal.direction == "min" else loss - other

    def _test(self, lead: float, error: Callable[[int], float]) -> LossTest:
        """Tests a lead.

        Args:
            lead: How much better, in units of the loss.
            error: The standard error of the lead over sigma, with a number of runs more.
        """

        def decides(more: int) -> bool:
            return round(lead / error(more), _DIGITS) >= self.threshold

        statistic = round(lead / error(0), _DIGITS)
        low, high = 0, MOST_RUNS
        while high - low > 1:  # not decided by `low` more runs; decided by `high`, if by any number
            middle = (low + high) // 2
            low, high = (low, middle) if decides(middle) else (middle, high)
        undecidable = lead <= 0 or not decides(high)
        return LossTest(
            statistic=statistic,
            p=self.noise.p_value(statistic / self.noise.sigma),
            passed=decides(0),
            more_runs=0 if decides(0) else None if undecidable else high,
        )
