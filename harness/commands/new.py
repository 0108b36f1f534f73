"""A submission's folder to start from: `chronograd new`."""

from __future__ import annotations

import json
from pathlib import Path

from harness.submission.loading import FILE, SubmissionError
from scoring.tree import SEARCH_SPACE_FILE
from scoring.writing import write_text

_SUBMISSION = '''"""{name}: say here what your training algorithm does, and cite its paper.

These functions are all that a submission is. They are called with AlgoPerf's arguments; seconds
spent in data_selection, update_params and prepare_for_eval are on the clock, all others are not.
"""

import torch

from harness import spec
{point}

def get_batch_size(workload_name):
    """The batch size for a workload; ValueError leaves it to the workload."""
    raise ValueError(f"no batch size of its own for {{workload_name}}")


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    """Called once, before training: a dict of whatever update_params needs from step to step."""
    {chosen}
    optimizer = torch.optim.SGD(
        model_params.parameters(),
        lr=hyperparameters.learning_rate,
        momentum=1 - hyperparameters.one_minus_beta1,
        nesterov=True,
    )
    # workload.step_hint is the number of steps that schedules are laid out by.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=workload.step_hint)
    return {{"optimizer": optimizer, "schedule": schedule}}


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters,
    global_step, rng,
):
    """A step's batch: a dict of "inputs", "targets" and, where some are masked, "weights"."""
    return next(input_queue)


def update_params(
    workload, current_param_container, current_params_types, model_state, hyperparameters, batch,
    loss_type, optimizer_state, eval_results, global_step, rng,
):
    """One step. Raise spec.TrainingCompleteError to end the training."""
    model, optimizer = current_param_container, optimizer_state["optimizer"]
    optimizer.zero_grad()
    logits, model_state = workload.model_fn(
        params=model,
        augmented_and_preprocessed_input_batch=batch,
        model_state=model_state,
        mode=spec.ForwardPassMode.TRAIN,
        rng=rng,
        update_batch_norm=True,
    )
    loss = workload.loss_fn(
        label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights")
    )
    (loss["summed"] / loss["n_valid_examples"]).backward()
    optimizer.step()
    if global_step < workload.step_hint:
        optimizer_state["schedule"].step()
    return optimizer_state, model, model_state


def prepare_for_eval(
    workload, current_param_container, current_params_types, model_state, hyperparameters,
    loss_type, optimizer_state, eval_results, global_step, rng,
):
    """Called before every evaluation; the model that it returns is evaluated. May be left out."""
    return optimizer_state, current_param_container, model_state
'''

_EXTERNAL = "hyperparameters are one of tuning_search_space.json's points, by name"
_FIXED = """
# Self-tuning: one trial, on every workload the same. These are no hyperparameters to be tuned.
LEARNING_RATE = 1e-2
ONE_MINUS_BETA1 = 0.1
"""
_SPACE = {
    "learning_rate": {"min": 1e-3, "max": 1e-1, "scaling": "log"},
    "one_minus_beta1": {"min": 1e-2, "max": 0.5, "scaling": "log"},
}


def write(place: Path, tuning: str) -> Path:
    """Writes a folder that `chronograd check` passes; returns it.

    Args:
        place: The folder, which must not be there yet.
        tuning: "external" or "self".

    Raises:
        SubmissionError: There is something at `place` already.
    """
    if place.exists():
        raise SubmissionError(f"{place}: is there already; choose another name")
    text = _SUBMISSION.format(name=place.name, point="", chosen=f"# {_EXTERNAL}.")
    if tuning == "self":
        text = _SUBMISSION.format(
            name=place.name, point=_FIXED, chosen="# hyperparameters is None."
        )
        for name in ("learning_rate", "one_minus_beta1"):
            text = text.replace(f"hyperparameters.{name}", name.upper())
    else:
        write_text(place / SEARCH_SPACE_FILE, json.dumps(_SPACE, indent=2) + "\n")
    write_text(place / FILE, text)
    info = {"title": place.name, "authors": "", "paper": "", "description": ""}
    write_text(place / "submission_info.json", json.dumps(info, indent=2) + "\n")
    return place
