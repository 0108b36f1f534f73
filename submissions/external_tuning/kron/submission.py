"""PSGD Kron, from pytorch_optimizer: a preconditioner of Kronecker factors, fitted by steps."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_optimizer
import torch

from harness.spec import Hyperparameters
from submissions import recipe

BALANCE_EVERY = 100  # steps; the library draws steps of that frequency


class Kron(pytorch_optimizer.Kron):
    """pytorch_optimizer's Kron, whose random numbers come of the step's number alone.

    The library draws from the global generators, which differ between processes that train one
    model together: their copies of the weights would drift apart.
    """

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step; returns what the closure returned."""
        loss = closure()
        number = self.param_groups[0].get("step", 0) + 1
        self.balance_prob = float(number % BALANCE_EVERY == 0)
        device = self.param_groups[0]["params"][0].device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(number)
            super().step()
        return loss


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """Kron (Li 2018), as its later PyTorch package has it."""
    return Kron(
        params,
        lr=hyperparameters.learning_rate,
        momentum=1 - hyperparameters.one_minus_beta1,
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
