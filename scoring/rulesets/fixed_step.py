"""The rules of a board that compares losses at a fixed step, each entry by the mean of its runs."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FixedStepRules(BaseModel):
    """How entries are tested against the target and against each other.

    Attributes:
        p: The largest probability with which a test may succeed by luck (one-sided).
        sigma: The standard deviation of a run's final loss over seeds. If it is not given, it is
            pooled from the runs of the board, and Student's t replaces the normal distribution.
        threshold: The smallest statistic, in units of the loss, with which a test succeeds; if not
            given, sigma times the quantile of `p`.
        loss_per_100_steps: What 100 steps are worth in loss near the target, to compare entries
            that stop at different steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    p: float = Field(gt=0, lt=0.5)
    sigma: float | None = Field(default=None, gt=0)
    threshold: float | None = Field(default=None, gt=0)
    loss_per_100_steps: float = Field(ge=0)

    @model_validator(mode="after")
    def _threshold_needs_sigma(self) -> Self:
        if self.threshold is not None and self.sigma is None:
            raise ValueError("a threshold needs its sigma")
        return self
