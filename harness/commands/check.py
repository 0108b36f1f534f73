"""Checks a submission against the contract: for `chronograd check` and for tests.

Each check trains workloads for a few steps, on the step clock and in this process. `findings`
yields the results: passed, or what is wrong, where, and how to fix it.
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
from harness.commands.finding import Finding, State, grouped, remark, unmet_need, violation
from harness.commands.rehearsal import (
    PERIODS,
    STEP_HINT,
    CutOffError,
    MakeWorkloads,
    Recorder,
    TensorCount,
    equal,
    grows,
    make_spec,
    plain_sgd,
    same,
    suited_to,
    train,
)
from harness.submission import loading
from harness.submission.dependencies import off_limits
from harness.submission.loading import Submission
from harness.submission.search_space import load as load_search_space
from harness.sweep.resolve import check_names
from harness.trial.clock import CallClock, Clock, LapClock
from harness.trial.process_group import ProcessGroup
from scoring.records import Status, TrialResult, UserError

STEPS, PERIOD = 24, 4  # steps of a trial, and between its evaluations
LONG = 160  # steps of the longer trial, in which memory must stop growing
SLOW = 10.0  # times the seconds per step of SGD, from which a step is reported as slow
ALONE = ProcessGroup()


def findings(
    place: Path,
    make_workloads: MakeWorkloads,
    names: Sequence[str],
    point: Mapping[str, Any] | None = None,
    group: ProcessGroup = ALONE,
) -> Iterator[Finding]:
    """Checks a submission, one rule after another; stops if nothing more can be checked.

    Args:
        place: The submission, as returned by `loading.find`.
        make_workloads: Creates small workloads, the same ones at every call. A submission that
            cannot train all workloads is checked on the first of those that it names instead.
        names: Names of workloads that a submission may know; training must not depend on them.
        point: Hyperparameters; None for the first point of the submission's search space, if any.
        group: The processes that check the submission together.
    """
    try:
        make_workloads = suited_to(place, make_workloads)
        checker = _Checker(place, make_workloads, names, group)
        loading.load(place)
        checker.set_point(point)
    except UserError as error:
        cause = error.__cause__ or error
        text = "".join(traceback.format_exception(cause))
        yield unmet_need("signatures", str(place), text, group.size) or Finding(
            "signatures", str(place), State.PROBLEM, str(error), "fix the file named in the message"
        )
        return
    yield Finding("signatures", str(place), State.OK)
    yield checker.imports()
    names_of = {number: workload.name for number, workload in enumerate(make_workloads())}
    for check in (
        checker.trains, checker.repeats, checker.leaks_nothing, checker.resumes, checker.trains_on
    ):  # fmt: skip
        found = (check(number, name) for number, name in names_of.items())
        yield from found if group.size > 1 else grouped(found)  # others wait for the first failure
        names_of = {number: names_of[number] for number in checker.reference}  # that it trained
    if checker.reference:
        first_number = min(checker.reference)
        yield checker.ignores_names(first_number)
        yield checker.memory(first_number)
        yield checker.speed(first_number)
        yield from checker.for_reviewers(first_number)


Trained = tuple[TrialResult, Recorder, list[torch.Tensor]]
Trajectory = tuple[list[dict[str, float]], list[torch.Tensor]]  # metrics, and the last parameters


class _Checker:
    """Checks one submission."""

    def __init__(
        self, place: Path, make_workloads: MakeWorkloads, names: Sequence[str], group: ProcessGroup
    ) -> None:
        self._place, self._make_workloads = place, make_workloads
        self._names, self._group = names, group
        self._point: dict[str, Any] | None = None
        self.reference: dict[int, Trajectory] = {}
        self._batch_sizes: dict[int, int | None] = {}
        self._sizes: list[tuple[int, int]] = []  # memory in the first workload's longer trial

    def set_point(self, point: Mapping[str, Any] | None) -> None:
        """Sets the hyperparameters; raises UserError if the search space is malformed."""
        file = loading.search_space_of(self._place)
        if point is not None:
            check_names(self._place, file.name, point)
            self._point = dict(point)
        elif file.is_file():
            self._point = load_search_space(file).points(0, 1, 1)[0][0]

    def imports(self) -> Finding:
        """Checks that the files import nothing of this project except the contract."""
        folder = loading.file_of(self._place).parent
        for file, line, name in off_limits(folder):
            what = f"{file}:{line} imports {name}"
            return Finding("off limits", str(file), State.PROBLEM, what, "import harness.spec")
        return Finding("off limits", str(folder), State.OK)

    def trains(self, number: int, where: str) -> Finding:
        """Checks that a trial trains to its end. Divergence is allowed, but is noted."""
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
        return remark("trains", where, what)

    def trains_on(self, number: int, where: str) -> Finding:
        """Checks that a longer trial trains to its end; on the first workload, measures memory."""
        with TensorCount() if number == min(self.reference) else nullcontext() as tensors:
            recorder = Recorder(tensors=tensors)
            result, _, _ = self._train(number, control=recorder, steps=LONG, period=LONG // 8)
        self._sizes = self._sizes or recorder.sizes
        if result.status is Status.FAILED:
            return self._failure(f"trains for {LONG} steps", where, result)
        return Finding(f"trains for {LONG} steps", where, State.OK)

    def _failure(self, check: str, where: str, result: TrialResult) -> Finding:
        """Returns the finding for a failed trial: a violation, or what this machine lacks."""
        need = unmet_need(check, where, result.traceback, self._group.size)
        return need or violation(check, where, result, has_point=self._point is not None)

    def repeats(self, number: int, where: str) -> Finding:
        """Checks that the submission, loaded again, gives the same training."""
        fix = (
            "draw random numbers from the global generators of torch, numpy or random, or seed "
            "yours with `rng`; do not depend on the time, hash() of strings or the order of sets"
        )
        return self._compare("one seed repeats", number, where, self._train(number), fix)

    def leaks_nothing(self, number: int, where: str) -> Finding:
        """Checks that a trial that follows others in the same process gives the same training."""
        loaded = loading.load(self._place)
        others = [n for n in range(len(self._make_workloads())) if n != number] or [number]
        self._train(others[0], loaded, seed=1)
        fix = "keep state in optimizer_state, not in globals, classes or default arguments"
        return self._compare("no state leaks", number, where, self._train(number, loaded), fix)

    def resumes(self, number: int, where: str) -> Finding:
        """Checks that an interrupted trial resumes from its checkpoint bit for bit."""
        recorder = Recorder(cut_at=1 + 3 * PERIOD)
        with suppress(CutOffError):
            self._train(number, control=recorder)
        fix = "keep in optimizer_state what training depends on: tensors, numbers, lists, dicts, "
        fix += "optimizers, schedules and your own objects"
        if recorder.unsaved:
            return Finding("resumes exactly", where, State.PROBLEM, recorder.unsaved, fix)
        if recorder.state is None:  # it ended before a checkpoint
            return Finding("resumes exactly", where, State.OK)
        trained = self._train(number, control=Recorder(resume=recorder.state))
        metrics, parameters = self.reference[number]
        known = [row.metrics for row in trained[0].rows]
        if not equal(known, metrics) or not same(parameters, trained[2]):
            what = trained[0].message or "the resumed trial differs from the uninterrupted one"
            return Finding("resumes exactly", where, State.PROBLEM, what, fix)
        return Finding("resumes exactly", where, State.OK)

    def ignores_names(self, number: int) -> Finding:
        """Checks that training does not depend on the name that get_batch_size is called with."""
        where = self._make_workloads()[number].name
        fix = "choose only the batch size by the workload's name"
        for name in self._names:
            loaded = loading.load(self._place)
            named = replace(loaded, get_batch_size=_fixed(loaded, name, self._batch_sizes[number]))
            found = self._compare("one path for every workload", number, where,
                                  self._train(number, named), fix)  # fmt: skip
            if not found.passed:
                return replace(found, what=f"trains differently after get_batch_size({name!r})")
        return Finding("one path for every workload", where, State.OK)

    def memory(self, number: int) -> Finding:
        """Checks that memory stops growing in the longer trial on the first workload."""
        where = self._make_workloads()[number].name
        if not grows(self._sizes[-5:]):
            return Finding("bounded memory", where, State.OK)
        fix = "keep no list that grows at every step; .detach() a loss before you keep it"
        what = f"memory still grows at step {LONG}"
        return Finding("bounded memory", where, State.PROBLEM, what, fix)

    def speed(self, number: int) -> Finding:
        """Compares the seconds per step with those of plain SGD; always passes."""
        own = self._step_seconds(number, loading.load(self._place))
        plain = self._step_seconds(number, plain_sgd())
        what = f"a step takes {own / plain:.1f} times as long as with SGD" * (own > SLOW * plain)
        return remark("speed", self._make_workloads()[number].name, what)

    def for_reviewers(self, number: int) -> Iterator[Finding]:
        """Yields remarks on what is allowed but should be reviewed, from a complete short run."""
        watch = review.Watch(loading.load(self._place), self._point)
        self._train(number, watch.submission, steps=PERIODS, period=1)
        losses = [metrics for metrics, _ in self.reference.values()]
        yield from review.findings(self._place, watch, losses, STEP_HINT)

    def _step_seconds(self, number: int, loaded: Submission) -> float:
        """Returns the median seconds per step, without the first quarter of the steps."""
        clock = LapClock()
        self._train(number, loaded, clock=clock, steps=LONG, period=LONG)
        return statistics.median(clock.laps[len(clock.laps) // 4 :] or [0.0])

    def _compare(
        self, check: str, number: int, where: str,
        trained: Trained, fix: str,
    ) -> Finding:  # fmt: skip
        """Checks that a trial equals the first one of its workload."""
        result, recorder, parameters = trained
        metrics, expected = self.reference[number]
        for ours, theirs, row in zip(
            (row.metrics for row in recorder.rows), metrics, recorder.rows, strict=False
        ):
            if not equal([ours], [theirs]):
                what = f"losses differ at step {row.global_step}"
                return Finding(check, where, State.PROBLEM, what, fix)
        if len(recorder.rows) != len(metrics) or not same(parameters, expected):
            what = result.message or f"parameters differ after {STEPS} steps"
            return Finding(check, where, State.PROBLEM, what, fix)
        return Finding(check, where, State.OK)

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
        """Runs a trial; returns its result, what it reported, and the last evaluated parameters."""
        workload, recorder = self._make_workloads()[number], control or Recorder()
        spec = make_spec(self._place, workload, self._point, seed, steps, period)
        loaded = loaded or loading.load(self._place)
        clock = clock or CallClock(1.0)
        result, parameters = train(loaded, workload, spec, clock, recorder, self._group)
        return result, recorder, parameters


def _fixed(loaded: Submission, name: str, size: int | None) -> Callable[[str], int]:
    """Returns a get_batch_size that passes `name` to the submission's and returns `size`."""

    def get_batch_size(_: str) -> int:
        with suppress(ValueError, KeyError):
            loaded.get_batch_size(name)
        if size is None:
            raise ValueError(name)
        return size

    return get_batch_size
