"""The reference for each submission's step: the method in the package it originates from.

Of the hyperparameters only momentum affects the time; it and the schedule are those of the
submission's first point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import pytorch_optimizer
import schedulefree
import torch
from torch import nn
from torch.optim import Optimizer

from submissions.muon import Both, hidden_and_rest

Make = Callable[[Iterable[Any]], Optimizer]


def _made(kind: Callable[..., Any], **options: Any) -> Make:
    def make(params: Iterable[Any]) -> Optimizer:
        optimizer: Optimizer = kind(params, **options)
        return optimizer

    return make


_DECAY = {"weight_decay": 1e-3}  # as the submissions have it: another pass over the parameters
_ADAMW = _made(torch.optim.AdamW, lr=1e-3)
_NADAMW = _made(torch.optim.NAdam, lr=1e-3, decoupled_weight_decay=True, **_DECAY)
REFERENCES: dict[str, tuple[str, Make]] = {  # the package and the method in it, by submission
    "external_tuning/adadelta": ("torch.optim", _made(torch.optim.Adadelta, lr=1e-3, **_DECAY)),
    "external_tuning/adafactor": ("torch.optim", _made(torch.optim.Adafactor, lr=1e-3)),
    "external_tuning/adagrad": ("torch.optim", _made(torch.optim.Adagrad, lr=1e-3, **_DECAY)),
    "external_tuning/adam": ("torch.optim", _made(torch.optim.Adam, lr=1e-3, **_DECAY)),
    "external_tuning/adamw": ("torch.optim", _ADAMW),
    "external_tuning/amsgrad": (
        "torch.optim", _made(torch.optim.Adam, lr=1e-3, amsgrad=True, **_DECAY),
    ),
    "external_tuning/diloco": ("torch.optim", _ADAMW),
    "external_tuning/heavy_ball": (
        "torch.optim", _made(torch.optim.SGD, lr=1e-3, momentum=0.9, **_DECAY),
    ),
    "external_tuning/nadamw": ("torch.optim", _NADAMW),
    "external_tuning/nesterov": (
        "torch.optim", _made(torch.optim.SGD, lr=1e-3, momentum=0.9, nesterov=True, **_DECAY),
    ),
    "external_tuning/rmsprop": (
        "torch.optim", _made(torch.optim.RMSprop, lr=1e-3, momentum=0.9, **_DECAY),
    ),
    "external_tuning/sgd": ("torch.optim", _made(torch.optim.SGD, lr=1e-3, **_DECAY)),
    "self_tuning/nadamw": ("torch.optim", _NADAMW),
    "external_tuning/schedule_free_adamw": (
        "schedulefree", _made(schedulefree.AdamWScheduleFree, lr=1e-3, warmup_steps=2),
    ),
    "self_tuning/schedule_free_adamw": (
        "schedulefree", _made(schedulefree.AdamWScheduleFree, lr=1e-3, warmup_steps=2),
    ),
    "self_tuning/adamg": ("pytorch_optimizer", _made(pytorch_optimizer.AdamG)),
}  # fmt: skip
REFERENCES |= {
    f"external_tuning/{name}": ("pytorch_optimizer", _made(kind, **{"lr": 1e-3, **options}))
    for name, kind, options in (
        (
            "ademamix",
            pytorch_optimizer.AdEMAMix,
            {"t_alpha_beta3": 40, "weight_decay": 0.01, "weight_decouple": True},
        ),
        ("adopt", pytorch_optimizer.ADOPT, _DECAY),
        ("amos", pytorch_optimizer.Amos, {}),
        ("generalized_adam", pytorch_optimizer.QHAdam, _DECAY),
        ("kron", pytorch_optimizer.Kron, {}),
        ("lion", pytorch_optimizer.Lion, _DECAY),
        ("mars", pytorch_optimizer.MARS, _DECAY),
        ("prodigy", pytorch_optimizer.Prodigy, {"lr": 1.0, **_DECAY}),
        ("shampoo", pytorch_optimizer.ScalableShampoo, {}),
        ("soap", pytorch_optimizer.SOAP, {}),
    )
}
BY_MODEL: dict[str, tuple[str, Callable[[nn.Module, Any], Optimizer]]] = {
    "external_tuning/muon": ("pytorch_optimizer", lambda m, w: _package_muon(m, w)),
    "external_tuning/muon_sharded": ("pytorch_optimizer", lambda m, w: _package_muon(m, w)),
    "external_tuning/torch_muon": ("torch.optim", lambda m, w: _torch_muon(m, w)),
}


def _package_muon(model: nn.Module, workload: Any) -> Optimizer:
    hidden, rest = hidden_and_rest(model, workload)
    groups = [{"params": hidden, "use_muon": True}, {"params": rest, "use_muon": False}]
    optimizer: Optimizer = pytorch_optimizer.Muon(groups, lr=1e-3, use_adjusted_lr=True)
    return optimizer


def _torch_muon(model: nn.Module, workload: Any) -> Optimizer:
    hidden, rest = hidden_and_rest(model, workload, most_axes=2)
    return Both(torch.optim.Muon(hidden), torch.optim.AdamW(rest))


def reference(name: str) -> tuple[str, Callable[[nn.Module, Any], Optimizer]] | None:
    """The package and a function that makes the method for a model and a workload, or None.

    heavyball's cautious AdamW is the reference of the cautious methods if it is installed.
    """
    if name in BY_MODEL:
        return BY_MODEL[name]
    if name in REFERENCES:
        package, make = REFERENCES[name]
        return package, lambda model, workload: make(model.parameters())
    if name.startswith("external_tuning/cautious_adamw"):
        try:
            heavyball = import_module("heavyball")
        except ImportError:
            return None
        return "heavyball", lambda model, workload: heavyball.ForeachAdamW(
            model.parameters(), lr=1e-3, caution=True
        )
    return None
