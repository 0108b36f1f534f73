"""A submission from the dotted name of an optimizer class: `chronograd run torch.optim.AdamW`."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from torch.optim import Optimizer

from harness.spec import Hyperparameters, OptimizerState, UpdateReturn
from submissions import recipe
from submissions.schedules import SCHEDULES

_OF_THE_RECIPE = (  # hyperparameters that are no arguments of the optimizer
    "label_smoothing", "dropout_rate", "aux_dropout_rate", "grad_clip", "warmup_factor",
    "decay_factor", "end_factor", "cycles",
)  # fmt: skip


def optimizer_class(name: str) -> type[Optimizer]:
    """The class of a dotted name.

    Raises:
        ValueError: There is none, or it cannot be used; the message says why.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise ValueError(f"{name}: cannot be imported ({error}); is its package there?") from None
    if not (isinstance(found, type) and issubclass(found, Optimizer)) or found is Optimizer:
        raise ValueError(f"{name} is no subclass of torch.optim.Optimizer")
    if "closure" not in inspect.signature(found.step).parameters:
        raise ValueError(f"{name}.step takes no closure; wrap it in a submission of your own")
    return found


def version(name: str) -> str:
    """The distribution that a dotted name comes from and its version, "" where it has none."""
    root = name.partition(".")[0]
    found = importlib.metadata.packages_distributions().get(root, [])
    return ", ".join(f"{dist} {importlib.metadata.version(dist)}" for dist in sorted({*found}))


def submission(
    name: str, made_of: str, schedule: str, defaults: Mapping[str, float]
) -> recipe.Functions:
    """The functions of a submission that trains with an optimizer class.

    Args:
        name: Of the class. The hyperparameters are its keyword arguments, but for those that
            `submissions.recipe` and `submissions.schedules` read.
        made_of: The `version` that this was planned with.
        schedule: A name in `SCHEDULES`.
        defaults: Hyperparameters that a point need not give.

    Raises:
        ValueError: The class cannot be used, or another version of it is installed.
    """
    cls = optimizer_class(name)
    if made_of != version(name):
        raise ValueError(f"{name}: planned with {made_of}, installed is {version(name)}")
    functions = recipe.submission(functools.partial(_make, cls, name), SCHEDULES[schedule])

    @functools.wraps(functions.init_optimizer_state)
    def init_optimizer_state(
        workload: Any, model_params: Any, model_state: Any, hyperparameters: Any, rng: Any
    ) -> OptimizerState:
        point = _completed(hyperparameters, defaults)
        return functions.init_optimizer_state(workload, model_params, model_state, point, rng)

    @functools.wraps(functions.update_params)
    def update_params(*, hyperparameters: Any, **arguments: Any) -> UpdateReturn:
        point = _completed(hyperparameters, defaults)
        try:
            return functions.update_params(hyperparameters=point, **arguments)
        except RuntimeError as error:
            if "does not require grad" in str(error):
                raise RuntimeError(
                    f"{name} differentiates the gradient, which takes a loss.backward() with "
                    "create_graph; write a submission for it, see `chronograd new`"
                ) from error
            raise

    return functions._replace(
        init_optimizer_state=init_optimizer_state, update_params=update_params
    )


def _make(
    cls: type[Optimizer], name: str, params: Iterable[Any], point: SimpleNamespace, horizon: int
) -> Optimizer:
    """The optimizer of a point; lists, as JSON has them, become tuples."""
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in vars(point).items()
        if key not in _OF_THE_RECIPE
    }
    taken = inspect.signature(cls).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        for key in options.keys() - taken.keys():
            raise TypeError(f"{name} takes no {key!r}; it takes {', '.join([*taken][1:])}")
    return cls(params, **options)


def _completed(hyperparameters: Hyperparameters, defaults: Mapping[str, float]) -> SimpleNamespace:
    given = {} if hyperparameters is None else hyperparameters._asdict()
    return SimpleNamespace(**{**defaults, **given})
