"""Finds submissions by name or path, loads them, and checks them against the contract.

A submission is a folder with `submission.py` or `pytorch/submission.py`, or any other Python file,
given by its full name. It defines AlgoPerf v0.6's functions::

    get_batch_size(workload_name) -> int         ValueError: use the workload's batch size
    init_optimizer_state(workload, model_params, model_state, hyperparameters, rng) -> dict
    data_selection(workload, input_queue, optimizer_state, current_param_container, model_state,
                   hyperparameters, global_step, rng) -> batch                            # timed
    update_params(*, workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results, global_step,
                  rng[, train_state]) -> (optimizer_state, params, model_state)           # timed
    prepare_for_eval(*, as update_params without batch and train_state)                   # optional
    get_eval_batch_size(workload_name) -> int                                             # optional

and, for external tuning, `tuning_search_space.json`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from harness.spec import Workload
from harness.submission.closures import enable_gradients_in_closures
from harness.submission.files import FILE as FILE
from harness.submission.files import FRAMEWORK
from harness.submission.files import MAX_BYTES as MAX_BYTES
from harness.submission.files import SubmissionError as SubmissionError
from harness.submission.files import available as available
from harness.submission.files import content_hash as content_hash
from harness.submission.files import digests as digests
from harness.submission.files import file_of as file_of
from harness.submission.files import files_of as files_of
from harness.submission.files import library as library
from harness.submission.files import name_of as name_of
from harness.submission.files import search_space_of as search_space_of
from harness.submission.imports import forget_submission as forget_submission
from harness.submission.imports import import_submission
from harness.submission.source import place_of
from harness.system.exits import in_fork, os_exit_raises
from harness.system.signals import interrupted
from scoring.escaping import error_message
from scoring.names import known_names
from scoring.records import TrialSpec

_FOLDER_OF = {"external": "external_tuning", "self": "self_tuning"}

_POSITIONAL = {
    "get_batch_size": ("workload_name",),
    "init_optimizer_state": (
        "workload", "model_params", "model_state", "hyperparameters", "rng",
    ),
    "data_selection": (
        "workload", "input_queue", "optimizer_state", "current_param_container", "model_state",
        "hyperparameters", "global_step", "rng",
    ),
}  # fmt: skip
_PREPARE_FOR_EVAL = (
    "workload", "current_param_container", "current_params_types", "model_state",
    "hyperparameters", "loss_type", "optimizer_state", "eval_results", "global_step", "rng",
)  # fmt: skip
_UPDATE_PARAMS = (*_PREPARE_FOR_EVAL, "batch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A loaded submission: its functions, its name and its folder."""

    name: str
    folder: Path
    get_batch_size: Callable[[str], int]
    get_eval_batch_size: Callable[[str], int] | None = None
    init_optimizer_state: Callable[..., dict[str, Any]]
    data_selection: Callable[..., Any]
    update_params: Callable[..., Any]
    prepare_for_eval: Callable[..., Any] | None
    wants_train_state: bool  # as in AlgoPerf, passed only if the signature has train_state


def find(name: str, tuning: str | None = None) -> Path:
    """Returns the folder or file of a submission that is given by name or path.

    See `candidates` for how a name is resolved.

    Raises:
        SubmissionError: No submission was found.
    """
    found = candidates(name, tuning)
    if found:
        return found[0]
    if Path(name).is_dir():
        raise SubmissionError(
            f"{name}: this folder has no {FILE}, nor {FRAMEWORK}/{FILE}; `chronograd new NAME` "
            "writes one to start from"
        )
    if _is_path(name):
        raise SubmissionError(
            f"no submission at {name}: pass the path of a folder with {FILE}, or of a Python "
            "file; `chronograd submissions` lists those of the library"
        )
    where = f" for {tuning} tuning" if tuning else ""
    known = [found.removeprefix("external_tuning/") for found in available()]
    raise SubmissionError(
        f"no submission {name!r}{where}. {known_names(name, known, '`chronograd submissions`')}; "
        f"or pass the path of a folder with {FILE}"
    )


def candidates(name: str, tuning: str | None = None) -> list[Path]:
    """Returns the folders and files that a name can refer to, in order of precedence.

    A name with a separator, a leading dot or the ending `.py` is a path; if nothing is at that
    path, "external_tuning/NAME" and "self_tuning/NAME" are submissions of the library. Any other
    name is a submission of the library, external tuning first, or else a folder in the working
    directory.
    """
    root, path = library(), Path(name)
    here = path.parent if path.name == FILE else path
    if _is_path(name):
        qualified = len(path.parts) == 2 and path.parts[0] in _FOLDER_OF.values()
        places = [here, *([root / name] if qualified else [])]
    else:
        kinds = [_FOLDER_OF[tuning]] if tuning else _FOLDER_OF.values()
        places = [*(root / kind / name for kind in kinds), here]
    places = [p for place in places for p in (place, place / FRAMEWORK)]
    found = [_resolved(place) for place in places if file_of(place).is_file()]
    return [*dict.fromkeys(found)]


def _is_path(name: str) -> bool:
    separated = os.sep in name or (os.altsep is not None and os.altsep in name)
    return separated or name.startswith(".") or name.endswith(".py")


def _resolved(place: Path) -> Path:
    """Returns the absolute path; the name of a Python file is kept if it is a symbolic link."""
    return place.parent.resolve() / place.name if place.suffix == ".py" else place.resolve()


def load(place: Path) -> Submission:
    """Imports a submission and checks its functions against the contract.

    The modules of the submission loaded before are forgotten; see `harness.submission.imports`.

    Raises:
        SubmissionError: It cannot be imported, or a function is missing or takes other arguments.
    """
    file = file_of(place)
    enable_gradients_in_closures()
    with _raised_by(file, "import failed"):
        module = import_submission(file)
    with _raised_by(file, "its functions cannot be checked"):
        return _checked(module, place, file)


def _checked(module: ModuleType, place: Path, file: Path) -> Submission:
    """Returns a submission whose functions take the arguments that they are called with."""
    functions = {name: _function(module, file, name) for name in (*_POSITIONAL, "update_params")}
    prepare = getattr(module, "prepare_for_eval", None)
    for name, arguments in _POSITIONAL.items():
        _check_call(file, name, functions[name], arguments, {})
    update = inspect.signature(functions["update_params"]).parameters
    train_state = ("train_state",) if "train_state" in update else ()
    keywords = dict.fromkeys((*_UPDATE_PARAMS, *train_state))
    _check_call(file, "update_params", functions["update_params"], (), keywords)
    if prepare is not None:
        _check_call(file, "prepare_for_eval", prepare, (), dict.fromkeys(_PREPARE_FOR_EVAL))
    return Submission(
        name=name_of(place),
        folder=file.parent,
        get_eval_batch_size=getattr(module, "get_eval_batch_size", None),
        prepare_for_eval=prepare,
        wants_train_state=bool(train_state),
        **functions,
    )


def validate(place: Path) -> None:
    """Raises what `load` raises; loads in a fork, so that no trial starts from its changes."""

    def message() -> str:
        try:
            load(place)
        except SubmissionError as error:
            return str(error)
        finally:
            forget_submission()
        return ""

    found = in_fork(message)
    if found is None and not interrupted():  # a fork can also end because this process has threads
        found = in_fork(message)
    if found is None and interrupted():
        raise KeyboardInterrupt
    if found is None:
        raise SubmissionError(f"{file_of(place)}: import failed: it ended the process")
    if found:
        raise SubmissionError(found)


@contextmanager
def _raised_by(file: Path, what: str) -> Iterator[None]:
    """Context in which everything that a submission's code raises is a SubmissionError."""
    try:
        with os_exit_raises():
            yield
    except SubmissionError:
        raise
    except BaseException as error:
        if interrupted():
            raise
        message = error_message(error, place_of(error, file.parent))
        raise SubmissionError(f"{file}: {what}: {message}") from error


def _function(module: ModuleType, file: Path, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if not callable(function):
        raise SubmissionError(f"{file}: must define {name}(); see harness/submission/loading.py")
    return function  # type: ignore[no-any-return]


def _check_call(
    file: Path,
    name: str,
    function: Callable[..., Any],
    positional: tuple[str, ...],
    keywords: dict[str, None],
) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        style = "keyword" if keywords else "positional"
        raise SubmissionError(
            f"{file}: {name} must accept the {style} arguments "
            f"({', '.join(keywords or positional)}); it takes {signature} ({error})"
        ) from None


class WorkloadView:
    """The read-only view of a workload that a submission gets.

    It gives no access to the input pipeline, the evaluation data, the clock or the goals.
    """

    __slots__ = (
        "eval_period_time_sec",
        "is_output_params",
        "loss_fn",
        "loss_type",
        "max_allowed_runtime_sec",
        "metrics_logger",
        "model_fn",
        "model_params_types",
        "num_train_examples",
        "step_hint",
        "target_metric_name",
    )

    def __init__(
        self, workload: Workload, spec: TrialSpec, model_fn: Callable[..., Any] | None = None
    ) -> None:
        loss_fn: Callable[..., Any] = workload.loss_fn
        if workload.compile_loss and spec.compile and spec.device != "cpu":
            loss_fn = torch.compile(loss_fn)
        facts = {
            "model_fn": model_fn or (lambda *args, **kwargs: workload.model_fn(*args, **kwargs)),
            "loss_fn": lambda *args, **kwargs: loss_fn(*args, **kwargs),
            "is_output_params": lambda key: workload.is_output_params(key),
            "loss_type": workload.loss_type,
            "model_params_types": dict(workload.model_params_types),
            "num_train_examples": workload.num_train_examples,
            "target_metric_name": workload.target_metric_name,
            "step_hint": spec.step_hint,
            "max_allowed_runtime_sec": spec.max_allowed_runtime_sec,
            "eval_period_time_sec": spec.eval_period_seconds,
            "metrics_logger": None,
        }
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a submission may not set workload.{name}: the workload is read-only")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a submission may not delete workload.{name}")

    def __getattr__(self, name: str) -> Any:
        offered = ", ".join(self.__slots__)
        raise AttributeError(f"workload.{name} is off limits to submissions; they have {offered}")
