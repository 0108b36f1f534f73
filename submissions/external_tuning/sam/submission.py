"""SAM around AdamW: the gradient is taken where the loss nearby is highest."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_optimizer
import torch

from harness.spec import Hyperparameters
from submissions import recipe
from submissions.draws import same_draws


class Sam(pytorch_optimizer.SAM):
    """pytorch_optimizer's SAM, that takes its first gradient too, with the same dropout masks."""

    def step(self, closure: Callable[..., Any]) -> Any:  # type: ignore[override]
        """Foret et al. 2021, Algorithm 1; returns the loss at the weights."""
        repeated = same_draws(closure, self.param_groups[0]["params"][0].device)
        loss = repeated()
        super().step(repeated)
        return loss


def make_optimizer(
    params: Iterable[Any], hyperparameters: Hyperparameters, horizon: int
) -> torch.optim.Optimizer:
    """SAM (Foret et al. 2021) around AdamW."""
    return Sam(
        params,
        torch.optim.AdamW,
        rho=hyperparameters.rho,
        lr=hyperparameters.learning_rate,
        betas=(1 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    recipe.submission(make_optimizer)
)
