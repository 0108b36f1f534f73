"""Evaluates the weights of trials again, in a process that never loads a submission."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkpoint.authentication import Place, read_key
from harness.environment import scratch
from harness.sweep.events import DriverStarted
from harness.sweep.ledger import Reader
from harness.trial.attempt import prepare_process
from scoring.records import TrialSpec, UserError
from scoring.tree import read_trial

if TYPE_CHECKING:
    from torch import nn

    from harness.checkpoint.snapshot import Weights
    from harness.spec import LoadWorkload, Workload

_SPLITS = {"validation": ("validation",), "test": ("validation", "test")}  # by `until`


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A trial whose weights were evaluated again.

    Attributes:
        spec: The trial.
        folder: Folder of the trial.
        global_step: Step of its last evaluation, which reached the goal.
        recorded: The recorded metrics of that evaluation.
        found: The metrics of its weights; None if they cannot be evaluated.
        reason: Why the weights cannot be evaluated; else "".
    """

    spec: TrialSpec
    folder: Path
    global_step: int
    recorded: dict[str, float]
    found: dict[str, float] | None
    reason: str = ""


def evaluate_again(
    out: Path,
    folders: Sequence[Path],
    load_workload: LoadWorkload,
    checkpoints: str | None = None,
    data_dir: str | None = None,
) -> Iterator[Evaluated]:
    """Evaluates the final weights of trials that reached their goals.

    Args:
        out: The results tree.
        folders: Folders of the trials.
        load_workload: Loads a workload, given its name, the data directory and the device; it is
            sent to another process.
        checkpoints: Path or URI of the checkpoints; None for this machine's default folder.
        data_dir: Folder of the datasets; None for the recorded one.
    """
    places_of = kept_weights(out, checkpoints)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for folder in folders:
            spec, result = read_trial(folder)
            if not result.rows:
                continue
            row = result.rows[-1]
            found, reason = None, ""
            try:
                asked = pool.submit(_evaluate, load_workload, spec, places_of(spec), data_dir)
                found = asked.result()
            except UserError as error:
                reason = str(error)
            except BrokenProcessPool:
                raise UserError(f"{folder}: the process that evaluated its weights died") from None
            yield Evaluated(spec, folder, row.global_step, dict(row.metrics), found, reason)


def kept_weights(out: Path, checkpoints: str | None) -> Callable[[TrialSpec], list[Place]]:
    """Returns a function from a trial to the places in which its weights may be kept.

    Args:
        out: The results tree.
        checkpoints: Path or URI of the checkpoints; None for this machine's default folder.
    """
    key = read_key(out)
    events = (entry.event for entry in Reader(out).new_events(kinds=(DriverStarted,)))
    trees = dict.fromkeys(e.tree for e in events if isinstance(e, DriverStarted) and e.tree)

    def places_of(spec: TrialSpec) -> list[Place]:
        root = checkpoints or str(scratch())
        return [
            Place.of_trial(root, tree, spec.key, key, 1)
            for tree in reversed(trees)
            if key is not None
        ]

    return places_of


_loaded: dict[tuple[str, str | None, str], Workload] = {}  # used in the evaluating process only


def _evaluate(
    load_workload: LoadWorkload, spec: TrialSpec, places: Sequence[Place], data_dir: str | None
) -> dict[str, float]:
    """Returns the metrics of a trial's weights; raises UserError if they cannot be evaluated."""
    prepare_process(spec)
    import torch

    device = "cuda" if spec.device == "cuda" and torch.cuda.is_available() else "cpu"
    weights = read_kept(places, device)
    asked = (spec.workload, data_dir or spec.data_dir, device)
    if asked not in _loaded:
        _loaded.clear()
        _loaded[asked] = load_workload(*asked)
    workload = _loaded[asked]
    model = model_with(weights, workload, spec)
    model.eval()
    splits = _SPLITS.get(spec.until, ("validation",))
    with torch.no_grad():
        metrics = [
            (split, workload.eval_model(model, weights.model_state, split)) for split in splits
        ]
    return {f"{split}/{name}": float(v) for split, found in metrics for name, v in found.items()}


def read_kept(places: Sequence[Place], device: str) -> Weights:
    """Returns the weights in the first place that has some; raises UserError if none has."""
    from harness.checkpoint.snapshot import read_weights

    weights = next((w for place in places if (w := read_weights(place, device=device))), None)
    if weights is None:
        raise UserError(
            "its weights are not here: trials keep them in --checkpoint-dir, or on the machine "
            "that trained them; those that do not reach their goals only with --keep-checkpoint"
        )
    return weights


def model_with(weights: Weights, workload: Workload, spec: TrialSpec) -> nn.Module:
    """Returns the model of a trial with these weights; raises UserError if they do not fit."""
    from harness.trial.seeds import Streams

    model, _ = workload.init_model_fn(Streams.of(spec).model, **spec.dropout)
    try:
        weights.put_into(model)
    except ValueError as error:
        raise UserError(f"its weights do not fit this workload: {error}") from None
    return model
