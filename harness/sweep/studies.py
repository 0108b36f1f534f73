"""Adds studies to a sweep until results decide the order of its submissions (`--studies auto`).

Looks at results only when all planned trials have ended, so that what is decided depends on
results and not on when they arrived: a resumed sweep decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.sweep.events import StudiesChosen
from harness.sweep.options import SweepOptions
from harness.sweep.pruner import met_at_second
from scoring.experiment import Experiment
from scoring.grid import Grid
from scoring.records import Status, TrialResult, TrialSpec
from scoring.sequential import Decision, Observations, Question, decide, next_counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What results decide.

    Attributes:
        experiment: The plan with the studies that are added; the same if none are.
        event: What to record.
        message: The same for the user.
    """

    experiment: Experiment
    event: StudiesChosen
    message: str


class AutoStudies:
    """Decides which studies are added.

    Args:
        experiment: Plan, whose `counts` are the studies so far.
        options: What is to be decided, as `decide`, `confidence`, `max_studies` and `order`.
    """

    def __init__(self, experiment: Experiment, options: SweepOptions) -> None:
        if options.decide is None:
            raise ValueError("results decide nothing: the number of studies is fixed")
        held_out = experiment.ruleset.held_out
        variants = [w for w in experiment.workloads if held_out.get(w) in experiment.workloads]
        self._scored = [w for w in experiment.workloads if w not in variants]
        self._grid = Grid(
            experiment.submissions,
            [*self._scored, *variants],
            experiment.studies,
            experiment.trials_per_study,
            held_out,
        )
        self._r_max = experiment.ruleset.r_max
        self._question = Question(
            decide=options.decide,
            confidence=options.confidence,
            max_studies=min(options.max_studies, experiment.studies),
            order=options.order,
        )
        self._seen = Observations.none(self._grid.shape)

    def learn(self, spec: TrialSpec, result: TrialResult) -> None:
        """Uses the result of a trial that has ended; a prediction only bounds its time."""
        if result.will_run_again:
            return
        stopped = result.status in (Status.PRUNED, Status.PREDICTED)
        seconds = result.submission_seconds
        met_at, stopped_at = met_at_second(spec, result), seconds if stopped else None
        self._seen.learn(self._grid.place(spec), met_at, stopped_at, seconds)

    def look(self, experiment: Experiment) -> Look | None:
        """Looks at the results; None while a planned trial has not ended."""
        if not all(self._seen.ended[self._grid.place(spec)] for spec in experiment.specs()):
            return None
        names, workloads = list(self._grid.rows), list(self._grid.columns)
        rules = (len(self._scored), self._grid.held_out, self._r_max, self._question)
        decisions = decide(self._seen, names, len(self._scored), self._r_max, self._question)
        counts_sw = np.array([[experiment.planned(s, w) for w in workloads] for s in names])
        new_sw = next_counts(self._seen, counts_sw, decisions, *rules)
        added = [
            (names[s], workloads[w], study)
            for s, w in np.argwhere(new_sw > counts_sw).tolist()
            for study in range(counts_sw[s, w], new_sw[s, w])
        ]
        counts = {
            name: dict(zip(workloads, row, strict=True))
            for name, row in zip(names, new_sw.tolist(), strict=True)
        }
        return Look(
            experiment=experiment.model_copy(update={"counts": counts}) if added else experiment,
            event=StudiesChosen(decisions=[_plain(d) for d in decisions], added=added),
            message=_adds(added, decisions) if added else self._ends(decisions, counts_sw.max()),
        )

    def _ends(self, decisions: Sequence[Decision], most: int) -> str:
        """Says why no more studies are added."""
        decided = [_won(d) for d in decisions if d.faster]
        open_ = [f"{' and '.join(d.names)} (p = {d.p:.2g})" for d in decisions if not d.settled]
        why = "more studies cannot decide: they tie in every study"
        if most >= self._question.max_studies:
            why = f"--max-studies {self._question.max_studies} is reached"
        at = f"at an error probability of {1 - self._question.confidence:.3g}"
        parts = [f"decided {at}: {'; '.join(decided) or 'nothing'}"]
        parts += [f"not decided: {'; '.join(open_)}: {why}"] * bool(open_)
        return ". ".join(parts)


def _adds(added: Sequence[tuple[str, str, int]], decisions: Sequence[Decision]) -> str:
    """Says which studies are added, and why."""
    studies: dict[tuple[str, int], list[str]] = {}
    for name, workload, study in added:
        studies.setdefault((workload, study), []).append(name)
    where = "; ".join(f"study {k} of {', '.join(of)} on {w}" for (w, k), of in studies.items())
    undecided = [" and ".join(d.names) for d in decisions if not d.settled]
    shown = ", ".join(undecided[:3]) + f" and {len(undecided) - 3} more" * (len(undecided) > 3)
    return f"adds {where}; not decided yet: {shown}"


def _won(decision: Decision) -> str:
    first, second = decision.names
    slower = second if decision.faster == first else first
    return f"{decision.faster} is faster than {slower} (p = {decision.p:.2g})"


def _plain(decision: Decision) -> dict[str, object]:
    first, second = decision.names
    faster = decision.faster or None
    return {"first": first, "second": second, "faster": faster, "p": decision.p}
