"""How a sweep is run, and how optimizer classes become submissions: options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from scoring.records import Decide, Order, Pruning, Tuning, UserError

AUTO = 0  # as a number of studies: until results decide


class Schedule(StrEnum):
    """Learning-rate schedules (`submissions.schedules`)."""

    NONE = "none"
    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    COSINE = "cosine"
    CYCLIC = "cyclic"
    WSD = "wsd"
    SQRT = "sqrt"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanOptions:
    """The plan of a sweep, apart from its submissions."""

    suite: str | None = None
    workload: tuple[str, ...] = ()
    ruleset: str = "mini"
    tuning: Tuning | None = None
    studies: int | None = None
    trials: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerOptions:
    """How an optimizer given by its dotted name becomes a submission.

    Attributes:
        schedule: Learning-rate schedule.
        warmup: Fraction of training spent on linear warm-up; None if it is a hyperparameter.
        grad_clip: Maximum gradient norm; None for no clipping.
    """

    schedule: Schedule = Schedule.NONE
    warmup: float | None = None
    grad_clip: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepOptions:
    """Options that affect no row of any trial, and may be changed when a sweep is resumed.

    They are recorded in the ledger and are the defaults when the sweep is resumed.

    Attributes:
        address: Address of a running Ray cluster; None starts one on this machine.
        max_concurrent: Maximum number of trials at once; None for as many as fit.
        exclusive_nodes: Whether each trial has a node to itself.
        checkpoint_dir: Path or URI that all machines can access; None for the temporary folder of
            each machine.
        max_attempts: Maximum number of attempts of a trial whose process is lost.
        hang_timeout: Seconds without a step after which a trial is stopped.
        pruning: Which trials stop early.
        risk: Maximum probability that `Pruning.PREDICT`, applied to a submission, changes a score
            by more than `max_change`.
        max_change: The change of a score that counts.
        history: Results trees that `Pruning.PREDICT` learns from.
        order: Which waiting trial starts next.
        decide: What results must decide before no more studies are added; None for a fixed number
            of studies.
        confidence: One minus the probability that any of these decisions is wrong.
        max_studies: Maximum number of studies per submission and workload with `decide`.
        track: Names of experiment trackers.
    """

    address: str | None = None
    max_concurrent: int | None = None
    exclusive_nodes: bool = False
    checkpoint_dir: str | None = None
    max_attempts: int = 3
    hang_timeout: float = 3600.0
    pruning: Pruning = Pruning.EXACT
    risk: float = 0.1
    max_change: float = 0.01
    history: tuple[Path, ...] = ()
    order: Order = Order.COST
    decide: Decide | None = None
    confidence: float = 0.95
    max_studies: int = 20
    track: tuple[str, ...] = ()

    @property
    def most(self) -> int | None:
        """The largest number of studies if results decide it; None for a fixed number."""
        return None if self.decide is None else self.max_studies

    def __post_init__(self) -> None:
        if bool(self.history) != (self.pruning is Pruning.PREDICT):
            raise UserError("--pruning predict and --history DIR must be used together")
        if not 0 < self.confidence < 1:
            raise UserError(f"--confidence {self.confidence:g}: must be above 0 and below 1")

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> SweepOptions:
        """The inverse of `scoring.plain.to_plain`; unknown names and None are ignored."""
        known = {field.name for field in fields(cls)}
        given = {n: value for n, value in data.items() if n in known and value is not None}
        if given.get("max_change") == 1.0:  # of earlier versions, in which it was no bound
            del given["max_change"]
        given["pruning"], given["order"] = Pruning(given["pruning"]), Order(given["order"])
        if "decide" in given:
            given["decide"] = Decide(given["decide"])
        given["history"] = tuple(map(Path, given.get("history", ())))
        given["track"] = tuple(given.get("track", ()))
        return cls(**given)


EVERY_TRIAL = SweepOptions(pruning=Pruning.OFF)  # every trial runs to its end


def deciding(studies: int | None, how: SweepOptions) -> SweepOptions:
    """Returns the options with what `--studies auto` means."""
    return replace(how, decide=how.decide or Decide.ALL) if studies == AUTO else how
