"""The input of scoring: the trials of one or more trees, and the rules they are judged by."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scoring.experiment import Criteria
from scoring.files import load_json
from scoring.grid import Grid
from scoring.reading.evaluations import Evaluations, Hit, read_evaluations
from scoring.rulesets import Ruleset
from scoring.tree import EVALUATIONS_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What a leaderboard is computed over.

    Attributes:
        ruleset: The ruleset, as applied.
        tuning: "external" or "self".
        clock: "wall", or "steps" if training work was charged instead of measuring time.
        studies: Number of studies per submission and workload; the largest if `counts` differ.
        trials: Number of trials per study.
        workloads: Goals and budgets by name: the workloads that a score is the mean over, then
            held-out variants.
        held_out: The workload of each held-out variant, which counts only if the variant does.
        suite: The requested suite; other workloads are then left out on purpose.
        relaxed: The fraction by which each workload's target was relaxed.
        by: The unit of times to target: "seconds" or "steps".
        counts: Number of studies of each submission on each workload, if `--studies auto` chose
            it; else empty.
    """

    ruleset: Ruleset
    tuning: str
    clock: str
    studies: int
    trials: int
    workloads: dict[str, Criteria]
    held_out: dict[str, str]
    suite: str | None = None
    relaxed: dict[str, float] = field(default_factory=dict)
    by: str = "seconds"
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def planned(self, submission: str, workload: str) -> int:
        """The number of studies that are planned of a submission on a workload."""
        return self.counts.get((submission, workload), self.studies)

    @property
    def asked(self) -> str:
        """How this differs from the benchmark's own board, in words; "" if it does not."""
        amounts = sorted(set(self.relaxed.values()))
        if len(amounts) == 1 and self.relaxed.keys() == self.workloads.keys():
            targets = f"targets relaxed by {100 * amounts[0]:g}%"
        else:
            each = (f"{name} by {100 * amount:g}%" for name, amount in self.relaxed.items())
            targets = f"targets relaxed: {', '.join(each)}" if amounts else ""
        return ", ".join(filter(None, ["by steps to target" * (self.by == "steps"), targets]))

    @property
    def scored(self) -> list[str]:
        """The workloads that a score is the mean over."""
        return [name for name in self.workloads if name not in self.held_out]

    @property
    def repeats(self) -> str:
        """The number of studies, in words; a range if results decided it."""
        counts = {*self.counts.values()}
        least, most = min(counts, default=self.studies), max(counts, default=self.studies)
        if least < most:
            return f"{least} to {most} studies"
        return "1 study" if most == 1 else f"{most} studies"

    def beyond_plan(self, study: int, trial: int) -> str:
        """Why a trial with these numbers is unexpected; "" if it is planned."""
        if study in range(self.studies) and trial in range(1, self.trials + 1):
            return ""
        return (
            f"{self.ruleset.name} plans {self.repeats} of {self.trials} "
            f"trial{'s' * (self.trials > 1)}; only the "
            "official method counts this one"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One entry of the leaderboard and where it comes from."""

    tree: str  # the results tree or log folder, as given
    folder: Path
    facts: dict[str, str]  # path, hash and search_space, where the tree has them


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How a trial ran, as far as it is on record.

    Attributes:
        seed: The sweep's seed. In logs of other harnesses only steps and attempts are known; the
            rest is None.
        batch_size: The batch size used.
        steps: Number of calls of `update_params`.
        attempts: Number of attempts.
        cpu_seconds: CPU time of its processes while the submission clock ran; None on the step
            clock, which does not measure it.
        cpus: Number of CPUs assigned to its processes together; None for a trial on GPUs.
        eval_seconds: Seconds spent in evaluations, including the last.
        total_seconds: Wall-clock time until the last evaluation.
        host: The machine of the last attempt.
        proof: The facts for which it was pruned: when each deciding trial met its target, or the
            time until which it had not.
    """

    seed: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    attempts: int | None = None
    cpu_seconds: float | None = None
    cpus: int | None = None
    eval_seconds: float | None = None
    total_seconds: float | None = None
    host: str = ""
    proof: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A trial as scoring uses it; its evaluations remain in their file.

    Attributes:
        submission: The submission's name on the leaderboard.
        workload: The workload's name, without the framework.
        study: The number of the study, from 0.
        trial: The number of the trial, from 1.
        folder: The folder of its records.
        criteria: Its goal and budget.
        status: How it ended; "reached" or "missed" in logs of other harnesses.
        failure: The class of a failed trial, else "".
        message: What went wrong, else "".
        submission_seconds: The submission clock when it ended, or was last evaluated.
        evaluations: Number of evaluations.
        hit: The first evaluation that meets the goal, within the budget or not.
        extra: Whether it is beyond the plan, so that the written rule leaves it out.
        findings: What a reviewer should look at, by its integrity record and its numbers.
        verified: "confirmed" or "contradicted" by a second evaluation of its weights, else "".
        work: Its training work; None in other logs and in trees of early versions.
        run: How it ran.
        end: When it ended in the unit of the board; None if that is seconds.
    """

    submission: str
    workload: str
    study: int
    trial: int
    folder: Path
    criteria: Criteria
    status: str
    failure: str
    message: str
    submission_seconds: float
    evaluations: int
    hit: Hit | None
    extra: bool = False
    findings: tuple[str, ...] = ()
    verified: str = ""
    work: float | None = None
    run: Run = Run()
    end: float | None = None

    @property
    def ended(self) -> float:
        """When it ended, in seconds on the submission clock or in another unit of the board."""
        return self.submission_seconds if self.end is None else self.end

    @property
    def cpu_share(self) -> float | None:
        """The part of its CPUs that it had while the submission clock ran; None if not known."""
        seconds, cpus = self.run.cpu_seconds, self.run.cpus
        if seconds is None or not cpus or not self.submission_seconds:
            return None
        return seconds / (cpus * self.submission_seconds)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The content of its hparams.json; {} if there is none that can be read."""
        try:
            point = load_json(self.folder / "hparams.json")
        except (OSError, ValueError):
            return {}
        return point if isinstance(point, dict) else {}

    @property
    def within_budget(self) -> bool:
        """Whether the goal was met within the budget."""
        budget = self.criteria.budget_seconds
        return self.hit is not None and self.hit.submission_seconds <= budget

    @property
    def charged_by_steps(self) -> bool:
        """Whether its training work was not counted, so that the step clock charged its steps."""
        return self.work is None and self.evaluations > 0

    def read(self) -> Evaluations:
        """Reads the evaluations again."""
        if not self.evaluations:  # the file may have a single row without values
            return Evaluations(lines=[], seconds=[], values=[], faults=[], header=[], rows=[])
        return read_evaluations(self.folder / EVALUATIONS_FILE, self.criteria.goal)


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """One or more results trees, read.

    Attributes:
        scope: What they are scored over.
        submissions: The submissions by name on the leaderboard, in alphabetical order.
        trials: All trials that could be read, by submission, workload, study and trial.
        missing: The trials that could not be read: by submission and workload, then by study.
        warnings: A line for each thing that is damaged or out of place.
        remarks: A line for each thing that a reader must know, though nothing is wrong.
        environments: The machine and software of each tree.
    """

    scope: Scope
    submissions: dict[str, Submission]
    trials: list[Trial]
    missing: dict[tuple[str, str], dict[int, list[int]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """The index of each planned trial in arrays (S, W, K, T)."""
        scope = self.scope
        return Grid(self.submissions, scope.workloads, scope.studies, scope.trials, scope.held_out)

    @property
    def charged(self) -> str:
        """What the clock charges for: "time", "training work", "steps", or the last two together.

        In early versions the step clock charged every call of `update_params` the same; their
        trials have no training work on record.
        """
        if self.scope.clock == "wall":
            return "time"
        if not any(trial.charged_by_steps for trial in self.trials):
            return "training work"
        counted = any(trial.work is not None for trial in self.trials)
        return "steps or training work" if counted else "steps"

    @property
    def findings(self) -> list[str]:
        """A line for each finding of each trial, with the trial's folder."""
        return [f"{trial.folder}: {found}" for trial in self.trials for found in trial.findings]
