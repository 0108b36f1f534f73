"""Does a submission keep the contract? What `chronograd check` does, and anybody's tests may.

Each check trains workloads for a few steps, on the step clock and in this process. `findings` gives
the outcome: passed, or what broke, where, and how to fix it.
"""

from __future__ import annotations

import math
import statistics
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.commands import review
from harness.commands.finding import Finding, unmet_need
from harness.commands.rehearsal import (
    PERIODS,
    STEP_HINT,
    CallClock,
    CutOffError,
    Recorder,
    TensorCount,
    equal,
    grows,
    make_spec,
    plain_sgd,
    same,
    train,
)
from harness.spec import Workload
from harness.submission import loading
from harness.submission.dependencies import off_limits
from harness.submission.loading import Submission
from harness.submission.search_space import load as load_search_space
from harness.trial.clock import Clock, LapClock
from harness.trial.process_group import ProcessGroup
from scoring.records import Status, TrialResult, UserError

STEPS, PERIOD = 24, 4  # of a trial, and between its evaluations
LONG = 160  # steps of a longer trial, in which memory must stop growing
SLOW = 10.0  # times the step of SGD
ALONE = ProcessGroup()

MakeWorkloads = Callable[[], Sequence[Workload]]


def findings(
    place: Path,
    make_workloads: MakeWorkloads,
    names: Sequence[str],
    point: Mapping[str, Any] | None = None,
    group: ProcessGroup = ALONE,
) -> Iterator[Finding]:
    """Checks a submission, one rule after another; stops where nothing further can be checked.

    Args:
        place: As `loading.find` gives it.
        make_workloads: Makes small workloads, the same each time.
        names: Of workloads that a submission may know; its training must not depend on them.
        point: Its hyperparameters; None: the first point of its search space, if it has one.
        group: Of the processes that check it together, this one.
    """
    checker = _Checker(place, make_workloads, names, group)
    try:
        loading.load(place)
        checker.set_point(point)
    except UserError as error:
        cause = error.__cause__ or error
        text = "".join(traceback.format_exception(cause))
        yield unmet_need("signatures", str(place), text, group.size) or Finding(
            "signatures", str(place), False, str(error), "fix the file that it names"
        )
        return
    yield Finding("signatures", str(place), True)
    yield checker.imports()
    for number, workload in enumerate(make_workloads()):
        first = checker.trains(number, workload.name)
        yield first
        if not first.passed:
            continue
        yield checker.repeats(number, workload.name)
        yield checker.leaks_nothing(number, workload.name)
        yield checker.resumes(number, workload.name)
        yield checker.trains_on(number, workload.name)
    if checker.reference:
        first_number = min(checker.reference)
        yield checker.ignores_names(first_number)
        yield checker.memory(first_number)
        yield checker.speed(first_number)
        yield from checker.for_reviewers(first_number)


Trained = tuple[TrialResult, Recorder, list[torch.Tensor]]
Trajectory = tuple[list[dict[str, float]], list[torch.Tensor]]  # metrics, and the last parameters


class _Checker:
    """One submission under check."""

    def __init__(
        self, place: Path, make_workloads: MakeWorkloads, names: Sequence[str], group: ProcessGroup
    ) -> None:
        self._place, self._make_workloads = place, make_workloads
        self._names, self._group = names, group
        self._point: dict[str, Any] | None = None
        self.reference: dict[int, Trajectory] = {}
        self._batch_sizes: dict[int, int | None] = {}
        self._sizes: list[tuple[int, int]] = []  # of the first workload's longer trial

    def set_point(self, point: Mapping[str, Any] | None) -> None:
        """Takes the hyperparameters; raises UserError where the search space is malformed."""
        file = loading.search_space_of(self._place)
        if point is not None:
            self._point = dict(point)
        elif file.is_file():
            self._point = load_search_space(file).points(0, 1, 1)[0][0]

    def imports(self) -> Finding:
        """Whether the files import nothing of this project but the contract."""
        folder = loading.file_of(self._place).parent
        for file, line, name in off_limits(folder):
            what = f"{file}:{line} imports {name}"
            return Finding("off limits", str(file), False, what, "import harness.spec")
        return Finding("off limits", str(folder), True)

    def trains(self, number: int, where: str) -> Finding:
        """Whether a trial trains to its end. That it diverges is legal, and worth knowing."""
        result, recorder, parameters = self._train(number)
        if result.status is Status.FAILED:
            return self._failure("trains", where, result)
        self.reference[number] = ([row.metrics for row in recorder.rows], parameters)
        self._batch_sizes[number] = result.batch_size
        values = [value for row in recorder.rows for value in row.metrics.values()]
        what = ""
        if not all(map(math.isfinite, values)) or not all(p.isfinite().all() for p in parameters):
            what = (
                f"diverges within {STEPS} steps; on purpose? Else lower the learning rate, or "
                "divide loss['summed'] by loss['n_valid_examples']"
            )
        return Finding("trains", where, True, what)

    def trains_on(self, number: int, where: str) -> Finding:
        """Whether a longer trial trains to its end, too; on the first workload, with its memory."""
        with TensorCount() if number == min(self.reference) else nullcontext() as tensors:
            recorder = Recorder(tensors=tensors)
            result, _, _ = self._train(number, control=recorder, steps=LONG, period=LONG // 8)
        self._sizes = self._sizes or recorder.sizes
        if result.status is Status.FAILED:
            return self._failure(f"trains for {LONG} steps", where, result)
        return Finding(f"trains for {LONG} steps", where, True)

    def _failure(self, check: str, where: str, result: TrialResult) -> Finding:
        """What a failed trial says of the submission, or of this machine."""
        need = unmet_need(check, where, result.traceback, self._group.size)
        if need is not None:
            return need
        if "off limits" in result.message or "read-only" in result.message:
            mend = "use what the message offers"
            return Finding("off limits", where, False, result.message, mend)
        end = " | ".join(result.traceback.split("\n")[-4:-1])
        what = f"step {result.global_step}: {result.message}"
        return Finding(check, where, False, what, f"look at the traceback's end: {end}")

    def repeats(self, number: int, where: str) -> Finding:
        """Whether the submission, loaded again, trains the same."""
        mend = (
            "draw random numbers from the global generators of torch, numpy or random, or seed "
            "your own by `rng`; let nothing depend on time, hash() of strings, the order of sets"
        )
        return self._compare("one seed repeats", number, where, self._train(number), mend)

    def leaks_nothing(self, number: int, where: str) -> Finding:
        """Whether a trial, after others in the same process, is as it is alone."""
        loaded = loading.load(self._place)
        others = [n for n in range(len(self._make_workloads())) if n != number] or [number]
        self._train(others[0], loaded, seed=1)
        mend = "keep state in optimizer_state, none in globals, classes or default arguments"
        return self._compare("no state leaks", number, where, self._train(number, loaded), mend)

    def resumes(self, number: int, where: str) -> Finding:
        """Whether a trial cut off goes on from its checkpoint as if nothing had happened."""
        recorder = Recorder(cut_at=1 + 3 * PERIOD)
        with suppress(CutOffError):
            self._train(number, control=recorder)
        mend = "keep in optimizer_state what training depends on: tensors, numbers, lists, dicts, "
        mend += "optimizers, schedules and objects of your own"
        if recorder.unsaved:
            return Finding("resumes exactly", where, False, recorder.unsaved, mend)
        if recorder.state is None:  # it ended before a checkpoint
            return Finding("resumes exactly", where, True)
        trained = self._train(number, control=Recorder(resume=recorder.state))
        metrics, parameters = self.reference[number]
        known = [row.metrics for row in trained[0].rows]
        if not equal(known, metrics) or not same(parameters, trained[2]):
            what = trained[0].message or "the resumed trial differs from the one not cut off"
            return Finding("resumes exactly", where, False, what, mend)
        return Finding("resumes exactly", where, True)

    def ignores_names(self, number: int) -> Finding:
        """Whether training is the same whatever name get_batch_size was told."""
        where = self._make_workloads()[number].name
        mend = "choose nothing by the workload's name but the batch size"
        for name in self._names:
            loaded = loading.load(self._place)
            told = replace(loaded, get_batch_size=_held(loaded, name, self._batch_sizes[number]))
            found = self._compare("one path for every workload", number, where,
                                  self._train(number, told), mend)  # fmt: skip
            if not found.passed:
                return replace(found, what=f"told {name!r}, it trains otherwise")
        return Finding("one path for every workload", where, True)

    def memory(self, number: int) -> Finding:
        """Whether memory stopped growing in the longer trial on the first workload."""
        where = self._make_workloads()[number].name
        if not grows(self._sizes[-5:]):
            return Finding("bounded memory", where, True)
        mend = "keep no list that grows at every step; .detach() what is kept of a loss"
        return Finding("bounded memory", where, False, f"memory still grows at step {LONG}", mend)

    def speed(self, number: int) -> Finding:
        """How long a step is, against one of plain SGD; never a fault."""
        own = self._step_seconds(number, loading.load(self._place))
        plain = self._step_seconds(number, plain_sgd())
        what = f"a step takes {own / plain:.1f} times that of SGD" if own > SLOW * plain else ""
        return Finding("speed", self._make_workloads()[number].name, True, what)

    def for_reviewers(self, number: int) -> Iterator[Finding]:
        """What is legal, and worth a look; a whole run of official proportions shows some of it."""
        watch = review.Watch(loading.load(self._place), self._point)
        control = Recorder(saves=False)
        self._train(number, watch.submission, control=control, steps=PERIODS, period=1)
        remarks = [
            *review.of_sources(loading.file_of(self._place).parent),
            *review.of_losses([metrics for metrics, _ in self.reference.values()]),
            *watch.remarks(STEP_HINT),
        ]
        for remark in remarks or [""]:
            yield Finding("for reviewers", str(self._place), True, remark)

    def _step_seconds(self, number: int, loaded: Submission) -> float:
        """The median of the steps there were, the first quarter of them left out."""
        clock = LapClock()
        self._train(number, loaded, clock=clock, steps=LONG, period=LONG)
        return statistics.median(clock.laps[len(clock.laps) // 4 :] or [0.0])

    def _compare(
        self, check: str, number: int, where: str,
        trained: Trained, mend: str,
    ) -> Finding:  # fmt: skip
        """Whether a trial equals the first one of its workload."""
        result, recorder, parameters = trained
        metrics, expected = self.reference[number]
        for ours, theirs, row in zip(
            (row.metrics for row in recorder.rows), metrics, recorder.rows, strict=False
        ):
            if not equal([ours], [theirs]):
                what = f"losses differ at step {row.global_step}"
                return Finding(check, where, False, what, mend)
        if len(recorder.rows) != len(metrics) or not same(parameters, expected):
            what = result.message or f"parameters differ after {STEPS} steps"
            return Finding(check, where, False, what, mend)
        return Finding(check, where, True)

    def _train(
        self,
        number: int,
        loaded: Submission | None = None,
        *,
        seed: int = 0,
        control: Recorder | None = None,
        clock: Clock | None = None,
        steps: int = STEPS,
        period: int = PERIOD,
    ) -> Trained:
        """One trial: its result, what it reported, and the parameters as last evaluated."""
        workload, recorder = self._make_workloads()[number], control or Recorder()
        spec = make_spec(self._place, workload, self._point, seed, steps, period)
        loaded = loaded or loading.load(self._place)
        clock = clock or CallClock(1.0)
        result, parameters = train(loaded, workload, spec, clock, recorder, self._group)
        return result, recorder, parameters


def _held(loaded: Submission, name: str, size: int | None) -> Callable[[str], int]:
    """A get_batch_size that tells the submission `name` and gives `size`, whatever it says."""

    def get_batch_size(_: str) -> int:
        with suppress(ValueError, KeyError):
            loaded.get_batch_size(name)
        if size is None:
            raise ValueError(name)
        return size

    return get_batch_size
