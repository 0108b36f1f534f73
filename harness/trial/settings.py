"""Settings that decide what an evaluation computes: of the process, the workload and the model."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any

import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from harness.spec import Workload

_PLAIN = (bool, int, float, str, tuple, torch.dtype, torch.device)


def of_layer(module: nn.Module) -> dict[str, Any]:
    """Returns the plain attributes of one of PyTorch's layers; other modules may change their own.

    `training`, the rate `p` of dropout and the momentum of batch norm change while a model trains.
    """
    if type(module).__module__.partition(".")[0] != "torch":
        return {}
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, _PLAIN) and name not in ("training", "p") and "momentum" not in name
    }


def of_workload(workload: Workload) -> dict[str, Any]:
    """Returns the attributes that every workload declares."""
    return {name: getattr(workload, name, None) for name in Workload.__annotations__}


def of_process() -> dict[str, str]:
    """Returns global settings that an evaluation or the clock depends on."""
    modules = torch.nn.modules.module
    hooks = (modules._global_forward_hooks, modules._global_forward_pre_hooks)
    found = {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "gradients enabled": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "autocast": torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"),
        "torch threads": torch.get_num_threads(),
        "dispatch modes": len(_get_current_dispatch_mode_stack()),
        "function modes": len(_get_current_function_mode_stack()),
        "global module hooks": sum(map(len, hooks)),
        "trace function": sys.gettrace() is not None,
        "profile function": sys.getprofile() is not None,
        "timer": any(signal.getitimer(which)[0] > 0 for which in range(3)),
        "functions called by the garbage collector": len(gc.callbacks),
    }
    for number in signal.valid_signals():
        found[f"handler of signal {number}"] = signal.getsignal(number)
    if hasattr(os, "sched_getaffinity"):
        found["CPUs allowed"] = len(os.sched_getaffinity(0))
        found["priority"] = os.getpriority(os.PRIO_PROCESS, 0)
    return {name: str(value) for name, value in found.items()}
