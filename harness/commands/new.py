"""Writes a submission to start from: `chronograd new`."""

from __future__ import annotations

import json
from pathlib import Path

from harness.submission.loading import FILE, SubmissionError
from scoring.tree import SEARCH_SPACE_FILE
from scoring.writing import write_text

_SUBMISSION = '''"""{name}: describe your training algorithm here, and cite its paper.

A submission consists of these functions. They are called with AlgoPerf's arguments. The time spent
in data_selection, update_params and prepare_for_eval counts; all other time does not.
"""

import torch

from harness import spec
{point}

def get_batch_size(workload_name):
    """Returns the batch size for a workload; with ValueError, the workload's own is used."""
    raise ValueError(f"no batch size for {{workload_name}}")


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    """Called once, before training; returns a dict of what update_params keeps between steps."""
    {chosen}
    optimizer = torch.optim.SGD(
        model_params.parameters(),
        lr=hyperparameters.learning_rate,
        momentum=1 - hyperparameters.one_minus_beta1,
        nesterov=True,
    )
    # workload.step_hint is the number of steps to use as the length of schedules.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=workload.step_hint)
    return {{"optimizer": optimizer, "schedule": schedule}}


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters,
    global_step, rng,
):
    """Returns a batch: a dict of "inputs", "targets" and, if examples are masked, "weights"."""
    return next(input_queue)


def update_params(
    workload, current_param_container, current_params_types, model_state, hyperparameters, batch,
    loss_type, optimizer_state, eval_results, global_step, rng,
):
    """Makes one step. Raise spec.TrainingCompleteError to end the training."""
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
    """Optional. Called before every evaluation; the model that it returns is evaluated."""
    return optimizer_state, current_param_container, model_state
'''

_EXTERNAL = "hyperparameters is a namedtuple: a point of tuning_search_space.json"
_FIXED = """
# Self-tuning: one trial with the same settings on every workload; these values are not tuned.
LEARNING_RATE = 1e-2
ONE_MINUS_BETA1 = 0.1
"""
_SPACE = {
    "learning_rate": {"min": 1e-3, "max": 1e-1, "scaling": "log"},
    "one_minus_beta1": {"min": 1e-2, "max": 0.5, "scaling": "log"},
}


def write(place: Path, tuning: str) -> Path:
    """Writes a submission that passes `chronograd check`; returns its folder.

    Args:
        place: The folder, which must not exist yet.
        tuning: "external" or "self".

    Raises:
        SubmissionError: `place` already exists.
    """
    if place.exists():
        raise SubmissionError(f"{place}: already exists; choose another name")
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
