"""One closure, called several times in a step, that draws the same random numbers every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def same_draws(closure: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """The closure on torch's generators as they stand now, whenever it is called.

    Two calls then have the same dropout masks, so that their losses are of one function. After the
    last call the generators stand where one call leaves them.

    Args:
        closure: Of a step.
        device: Of the parameters.
    """
    on_cpu = torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def repeated(**options: Any) -> Any:
        torch.set_rng_state(on_cpu)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu, device)
        return closure(**options)

    return repeated
