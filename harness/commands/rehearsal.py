"""Short trials in this process, recorded in full so that checks can compare them."""

from __future__ import annotations

import gc
import io
import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.checkpoint.pickling import UnsavableError, dump
from harness.checkpoint.snapshot import Snapshot
from harness.spec import ForwardPassMode, Workload
from harness.submission.files import runs_on
from harness.submission.loading import Submission, name_of
from harness.trial.attempt import Attempt, prepare_process
from harness.trial.clock import Clock
from harness.trial.control import Read
from harness.trial.loop import run_trial
from harness.trial.process_group import ProcessGroup
from scoring.records import EvalRow, TrialResult, TrialSpec, Tuning, Until

PERIODS = 100  # evaluation periods per budget
STEP_HINT = 75  # of these periods are before the step hint

MakeWorkloads = Callable[[], Sequence[Workload]]


class CutOffError(BaseException):
    """Ends a trial, to simulate the loss of its process."""


class TensorCount:
    """Context manager that counts the tensors of this process.

    Searching all objects takes up to a second, so the objects that exist on entry are searched only
    once.
    """

    def __enter__(self) -> TensorCount:
        gc.collect()
        self._before = [weakref.ref(tensor) for tensor in _tensors()]
        gc.freeze()  # excludes the existing objects from later searches
        return self

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()

    def __call__(self) -> int:
        """Returns the current number of tensors."""
        gc.collect()
        return len(_tensors()) + sum(tensor() is not None for tensor in self._before)


def _tensors() -> list[torch.Tensor]:
    return [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]


class Recorder(Attempt):
    """Records evaluations; can measure memory, or save checkpoints and end the trial at a step.

    Args:
        cut_at: Step after whose evaluation the trial ends, to simulate the loss of its process;
            until then, it saves checkpoints. None for a trial that saves none.
        resume: The checkpoint to resume from.
        tensors: Counts tensors, at every evaluation; None if memory is not measured.
    """

    def __init__(
        self,
        cut_at: int | None = None,
        resume: bytes | None = None,
        *,
        tensors: Callable[[], int] | None = None,
    ) -> None:
        super().__init__()
        self.rows: list[EvalRow] = []
        self.unsaved = ""
        self.state = resume
        self._cut_at, self._resume = cut_at, resume
        self._size, self._tensors = 0, tensors
        self.sizes: list[tuple[int, int]] = []  # bytes of a checkpoint, number of tensors

    def report(self, row: EvalRow) -> None:
        """Records an evaluation."""
        self.rows.append(row)
        if self._tensors is not None:
            self.sizes.append((self._size, self._tensors()))
        if row.global_step == self._cut_at:
            raise CutOffError

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Records a checkpoint that is read back, or only the size of the submission's part."""
        try:
            if self._cut_at is not None:
                file = io.BytesIO()
                snapshot.write(file)
                file.seek(0)
                snapshot.compare(file)
                self.state = file.getvalue()
            if self._tensors is not None:  # without the evaluations, which grow in every trial
                own = {name: snapshot.state[name] for name in ("params", "optimizer_state")}
                dump(own, submission_part := io.BytesIO(), snapshot.known)
                self._size = len(submission_part.getvalue())
        except UnsavableError as error:
            self.unsaved = self.unsaved or str(error)

    def restore(self, until: float, read: Read) -> dict[str, Any] | None:
        """Returns the checkpoint to resume from."""
        if self._resume is None:
            return None
        self.rows = []
        return read(io.BytesIO(self._resume))


def train(
    loaded: Submission,
    workload: Workload,
    spec: TrialSpec,
    clock: Clock,
    recorder: Recorder,
    group: ProcessGroup,
) -> tuple[TrialResult, list[torch.Tensor]]:
    """Runs one trial; returns its result and the parameters that were evaluated last."""
    last: list[torch.Tensor] = []
    evaluate = workload.eval_model

    def eval_model(params: Any, model_state: Any, split: str) -> dict[str, float]:
        last[:] = [p.detach().clone() for p in params.parameters()]
        return evaluate(params, model_state, split)

    workload.eval_model = eval_model  # type: ignore[method-assign]
    prepare_process(spec)
    return run_trial(spec, workload, loaded, clock, recorder, group), last


def make_spec(
    place: Path,
    workload: Workload,
    point: dict[str, Any] | None,
    seed: int,
    steps: int,
    period: int,
) -> TrialSpec:
    """Returns a trial of `steps` steps, of one second each, with an evaluation every `period`.

    It is the beginning of a training run with the proportions of the official workloads: the budget
    is PERIODS evaluation periods, and the step hint is the number of steps in STEP_HINT of them.
    """
    budget = PERIODS * period
    return TrialSpec(
        submission=name_of(place),
        submission_path=str(place),
        submission_hash="",
        tuning=Tuning.SELF if point is None else Tuning.EXTERNAL,
        workload=workload.name,
        study=0,
        trial=1,
        seed=seed,
        hyperparameters=point,
        goal=workload.goal,
        test_goal=workload.test_goal,
        budget_seconds=float("inf"),
        max_allowed_runtime_sec=float(budget),
        eval_period_seconds=float(period),
        step_hint=STEP_HINT * period,
        max_steps=steps,
        until=Until.BUDGET,
    )


def grows(sizes: Sequence[tuple[int, ...]]) -> bool:
    """Returns whether one of several sizes grew at each of five evaluations."""
    return len(sizes) == 5 and any(
        all(earlier < later for earlier, later in itertools.pairwise(one))
        for one in zip(*sizes, strict=True)
    )


def equal(ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]) -> bool:
    """Returns whether rows of metrics are equal; NaN equals NaN."""
    return repr(ours) == repr(theirs)


def same(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> bool:
    """Returns whether tensors are equal; NaN equals NaN."""
    return len(ours) == len(theirs) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def suited_to(place: Path, make_workloads: MakeWorkloads) -> MakeWorkloads:
    """Returns what makes the workloads that a submission is checked on.

    They are those of `make_workloads`, or the first two of those that the submission names, if it
    can train no others.
    """
    suited = runs_on(place)
    if suited is None:
        return make_workloads
    import workloads

    return lambda: [workloads.get(name) for name in suited.workloads[:2]]


def plain_sgd() -> Submission:
    """Returns plain SGD, with whose seconds per step those of a submission are compared."""

    def init_optimizer_state(workload: Any, params: Any, *_: Any) -> dict[str, Any]:
        return {"optimizer": torch.optim.SGD(params.parameters(), lr=1e-3)}

    def update_params(**given: Any) -> Any:
        sgd, batch = given["optimizer_state"]["optimizer"], given["batch"]
        sgd.zero_grad()
        logits, model_state = given["workload"].model_fn(
            params=given["current_param_container"],
            augmented_and_preprocessed_input_batch=batch,
            model_state=given["model_state"],
            mode=ForwardPassMode.TRAIN,
            rng=given["rng"],
            update_batch_norm=True,
        )
        loss = given["workload"].loss_fn(
            label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights")
        )
        (loss["summed"] / loss["n_valid_examples"]).backward()
        sgd.step()
        return given["optimizer_state"], given["current_param_container"], model_state

    def get_batch_size(workload_name: str) -> int:
        raise ValueError(workload_name)

    return Submission(
        name="plain",
        folder=Path(),
        get_batch_size=get_batch_size,
        init_optimizer_state=init_optimizer_state,
        data_selection=lambda workload, input_queue, *_: next(input_queue),
        update_params=update_params,
        prepare_for_eval=None,
        wants_train_state=False,
    )
