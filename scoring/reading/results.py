"""What scoring works on: the trials of one or more trees, and the rules they are judged by."""

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
    """What a leaderboard is made over.

    Attributes:
        ruleset: As applied.
        tuning: "external" or "self".
        clock: "wall", or "steps" where training work was charged and nothing was measured.
        studies: How many of each submission and workload.
        trials: How many of each study.
        workloads: Goals and budgets by name: first those a score is the mean over, then held-out
            variants.
        held_out: By held-out variant its workload, which counts only if the variant does.
        suite: The suite that was asked for, so that other workloads are left out on purpose.
        relaxed: By workload the fraction that its target was relaxed by.
        by: What times to target count: "seconds" or "steps".
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

    @property
    def asked(self) -> str:
        """How this differs from the benchmark's own board, in words; "" where it does not."""
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
        """How many studies, in words."""
        return "1 study" if self.studies == 1 else f"{self.studies} studies"

    def beyond_plan(self, study: int, trial: int) -> str:
        """What is odd about a trial of these numbers, "" where the plan holds it."""
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
    """How a trial ran, as far as its records say.

    Attributes:
        seed: The sweep's seed; None in logs of other harnesses, like all that follows but steps
            and attempts.
        batch_size: As used.
        steps: Calls of `update_params`.
        attempts: How many there were.
        cpu_seconds: CPU time of its processes while the submission clock ran.
        cpus: How many CPUs its processes were to have together; None for a trial on GPUs.
        eval_seconds: Spent in evaluations until the last of them.
        total_seconds: Wall-clock time until then.
        host: The machine of the last attempt.
        proof: The facts that allowed to prune it: of each deciding trial when it met the target,
            or until when it had not.
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
    """What scoring keeps of a trial; its evaluations stay in their file.

    Attributes:
        submission: Its name on the leaderboard.
        workload: Its name, without the framework.
        study: From 0.
        trial: From 1.
        folder: Where its records lie.
        criteria: Its goal and budget.
        status: How it ended; of other harnesses' logs "reached" or "missed".
        failure: The class of a failed trial, else "".
        message: What went wrong, else "".
        submission_seconds: The submission clock when it ended, or was last evaluated.
        evaluations: How many there are.
        hit: The first evaluation that meets the goal, within the budget or not.
        extra: More than the plan holds: the written rule leaves it out.
        findings: What its integrity record and its numbers give a reviewer reason to look at.
        verified: "confirmed" or "contradicted" by a second evaluation of its weights, else "".
        work: Its training work; None in other logs and in trees from before it was counted.
        run: How it ran.
        end: Where it ended in what the board counts, None where that is seconds.
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
        """Where it ended, in seconds on the submission clock or in what else the board counts."""
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
        """What its hparams.json holds; {} where there is none that can be read."""
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
        """Whether its training work was not counted, so that a step clock charged its steps."""
        return self.work is None and self.evaluations > 0

    def read(self) -> Evaluations:
        """Reads the evaluations again."""
        if not self.evaluations:  # the file may hold one row, without values, in their place
            return Evaluations(lines=[], seconds=[], values=[], faults=[], header=[], rows=[])
        return read_evaluations(self.folder / EVALUATIONS_FILE, self.criteria.goal)


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """One or more results trees, read.

    Attributes:
        scope: What they are scored over.
        submissions: By name on the leaderboard, in alphabetical order.
        trials: All that could be read, in order of submission, workload, study and trial.
        missing: By submission and workload, and by study, the trials that could not be read.
        warnings: One line for each thing that is damaged or out of place.
        remarks: One line for each thing that a reader must know, though nothing is wrong.
        environments: By tree, where and how it was measured.
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
        """Where each trial of the plan is in arrays (S, W, K, T)."""
        scope = self.scope
        return Grid(self.submissions, scope.workloads, scope.studies, scope.trials, scope.held_out)

    @property
    def charged(self) -> str:
        """What the clock charges for: "time", "training work", "steps", or the last two together.

        On the step clock every call of `update_params` was charged the same until training work was
        counted; trials from that time have none on record.
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
