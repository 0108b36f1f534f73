"""Remarks for reviewers of a submission: what is allowed but should be looked at.

`chronograd check` shows them. They are not violations: plain AdamW under its own name is a fair
baseline, and a submission may have a reason to import `gc`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.commands import schedules
from harness.commands.finding import Finding, remark
from harness.submission.dependencies import imports, nodes
from harness.submission.loading import Submission, file_of

MODULES = ("ctypes", "gc", "inspect", "multiprocessing", "socket", "subprocess", "threading")
ATTRIBUTES = (  # they lead from what a submission is given to the harness's objects
    "__closure__", "__globals__", "__self__", "__subclasses__", "_getframe", "ag_frame",
    "cell_contents", "cr_frame", "f_back", "f_globals", "f_locals", "gi_frame", "tb_frame",
)  # fmt: skip
TOLERANCE = 1e-3  # relative difference of updates that count as equal
SMALLEST = 16  # elements of a parameter whose updates are compared
COMPARED = 10  # steps that must have been compared

Losses = Sequence[Mapping[str, float]]


def findings(
    place: Path, watch: Watch, losses: Sequence[Losses], step_hint: int
) -> Iterator[Finding]:
    """Yields a finding for each remark; a single one without a remark if there are none.

    Args:
        place: The submission, as returned by `loading.find`.
        watch: What recorded its updates in a complete training run.
        losses: The metrics of the evaluations, per workload.
        step_hint: The workload's step hint; the run was longer.
    """
    remarks = [
        *source_remarks(file_of(place).parent),
        *loss_remarks(losses),
        *watch.remarks(step_hint),
    ]
    for text in remarks or [""]:
        yield remark("for reviewers", str(place), text)


def source_remarks(folder: Path) -> Iterator[str]:
    """Yields uses of modules and calls that training does not need, and of files under /tmp."""
    for file, line, name in imports(folder):
        if name.split(".")[0] in MODULES:
            yield f"{file.name}:{line} imports {name}"
    for file, node in nodes(folder):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield f"{file.name}:{line} uses {node.attr}"
        if isinstance(node, ast.Constant) and str(node.value).startswith(("/tmp", "/var/tmp")):
            yield f"{file.name}:{line} names {node.value!r}"


def loss_remarks(losses: Sequence[Losses]) -> Iterator[str]:
    """Yields a remark if the training loss fell on none of several workloads.

    Args:
        losses: The metrics of the evaluations, per workload; a single workload is not judged.
    """
    fell = [rows[-1]["train/loss"] <= rows[0]["train/loss"] for rows in losses]  # not if NaN
    if len(fell) > 1 and not any(fell):
        yield f"the training loss fell on none of {len(fell)} workloads"


class Watch:
    """Records the updates of a submission while it trains.

    Attributes:
        submission: The submission to train with.
    """

    def __init__(self, submission: Submission, hyperparameters: Mapping[str, Any] | None) -> None:
        self.submission = replace(
            submission,
            init_optimizer_state=self._init_optimizer_state,
            update_params=self._update_params,
        )
        self._name = submission.name.lower()
        self._original = submission.update_params
        self._original_init = submission.init_optimizer_state
        self._hyperparameters = hyperparameters or {}
        self._rates: list[tuple[float, ...]] = []
        self._values: list[dict[str, tuple[float, ...]]] = []
        self._rules: list[_Rule] | None = None
        self._too_long: list[tuple[str, float]] = []
        self._changed = self._initialises = False

    def _init_optimizer_state(self, workload: Any, model: Any, *others: Any) -> dict[str, Any]:
        """Calls the submission's function and compares the model's tensors before and after."""
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = self._original_init(workload, model, *others)
        after = model.state_dict()
        self._initialises |= any(not value.equal(after[name]) for name, value in before.items())
        return state

    def _update_params(self, **given: Any) -> Any:
        """Calls the submission's function and compares its updates with known rules."""
        model = given["current_param_container"]
        parameters = list(model.parameters())
        before = [p.detach().clone() for p in parameters]
        gradients: dict[int, Tensor] = {}
        hooks = [
            p.register_post_accumulate_grad_hook(
                lambda p, at=at: gradients.__setitem__(at, p.grad.detach().clone())
            )
            for at, p in enumerate(parameters)
            if p.requires_grad
        ]
        try:
            returned = self._original(**given)
        finally:
            for hook in hooks:
                hook.remove()
        optimizers = _optimizers(given["optimizer_state"])
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self._rates.append(tuple(float(group["lr"]) for group in groups if "lr" in group))
        self._values.append(schedules.values(optimizers))
        if self._rules is None:
            self._too_long = schedules.too_long(given["optimizer_state"], groups)
            self._rules = _known_rules(groups, self._hyperparameters)
        for at, (p, old) in enumerate(zip(parameters, before, strict=True)):
            change = p.detach() - old
            self._changed |= bool(change.any())
            gradient = p.grad.detach() if p.grad is not None else gradients.get(at)
            if gradient is not None and p.numel() >= SMALLEST:
                for rule in self._rules:
                    rule.compare(at, old.double(), gradient.double(), change.double())
        return returned

    def remarks(self, step_hint: int) -> Iterator[str]:
        """Yields the remarks of a complete training run.

        Args:
            step_hint: The workload's step hint; the run was longer.
        """
        if self._initialises:
            yield (
                "init_optimizer_state changes the initial parameters, which only rulesets with "
                "own_initialisation allow, such as track3"
            )
        if self._rates and not self._changed:
            yield "the parameters never change"
        after = self._rates[step_hint + 1 :]
        if len(set(after)) > 1:
            yield "the learning rate still changes after the step hint"
        for name in schedules.still_changing(self._values[step_hint + 1 :]):
            yield f"{name} of its optimizer still changes after the step hint"
        longest = schedules.longest_step_hint()
        for name, steps in self._too_long:
            yield (
                f"a schedule outlasts every step hint: {name} is {steps:,.0f} steps, and the "
                f"longest workload has {longest:,}"
            )
        for rule in self._rules or []:
            if rule.equal and not rule.names.search(self._name):
                yield f"its updates equal those of {rule.text}"
                break


class _Rule:
    """A known update rule, whose direction is computed from the submission's own gradients.

    Updates equal those of the rule if, for every parameter and step, they are a multiple of its
    direction plus a multiple of the parameter (decoupled weight decay), up to TOLERANCE.
    """

    names: re.Pattern[str]  # of submissions that are known to use the rule
    text: str

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}
        self._differs = False

    @property
    def equal(self) -> bool:
        """Returns whether enough steps were compared, and none differed."""
        return not self._differs and max(self._steps.values(), default=0) >= COMPARED

    def compare(self, at: int, old: Tensor, gradient: Tensor, change: Tensor) -> None:
        """Compares one parameter's change, given its previous value and its gradient."""
        if self._differs:
            return
        direction = self.direction(at, old, gradient)
        if not change.any():  # a learning rate of 0
            return
        basis = torch.stack([direction.flatten(), old.flatten()], 1)
        if not basis.isfinite().all() or not change.isfinite().all():
            self._differs = True
            return
        target = change.flatten()
        fit = torch.linalg.lstsq(basis, target[:, None], driver="gelsd").solution
        residual = (basis @ fit).flatten() - target
        rounding = torch.finfo(torch.float32).eps * old.norm()
        self._differs = bool(residual.norm() > TOLERANCE * target.norm() + rounding)
        self._steps[at] = self._steps.get(at, 0) + 1

    def direction(self, at: int, old: Tensor, gradient: Tensor) -> Tensor:
        """Returns the rule's direction; called once per step and parameter."""
        raise NotImplementedError


class _Sgd(_Rule):
    """torch.optim.SGD."""

    names = re.compile(r"sgd|momentum|nesterov|heavy_?ball")

    def __init__(self, momentum: float, decay: float, *, nesterov: bool) -> None:
        super().__init__()
        self._momentum, self._decay, self._nesterov = momentum, decay, nesterov
        self._buffers: dict[int, Tensor] = {}
        self.text = "SGD" + (
            f" with {'Nesterov ' * nesterov}momentum {momentum:.4g}" * bool(momentum)
        )

    def direction(self, at: int, old: Tensor, gradient: Tensor) -> Tensor:
        gradient = gradient + self._decay * old
        buffer = self._buffers.get(at)
        buffer = gradient if buffer is None else self._momentum * buffer + gradient
        self._buffers[at] = buffer
        return gradient + self._momentum * buffer if self._nesterov else buffer


class _Adam(_Rule):
    """torch.optim.AdamW, and Adam."""

    names = re.compile(r"adamw?")

    def __init__(self, beta1: float, beta2: float, eps: float, decay: float) -> None:
        super().__init__()
        self._betas, self._eps, self._decay = (beta1, beta2), eps, decay
        self._moments: dict[int, tuple[Tensor, Tensor, int]] = {}
        self.text = f"AdamW with betas {beta1:.4g} and {beta2:.4g}"

    def direction(self, at: int, old: Tensor, gradient: Tensor) -> Tensor:
        gradient = gradient + self._decay * old
        zero = torch.zeros_like(gradient)
        first, second, steps = self._moments.get(at, (zero, zero, 0))
        beta1, beta2 = self._betas
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        self._moments[at] = first, second, steps + 1
        corrected = (second / (1 - beta2 ** (steps + 1))).sqrt() + self._eps
        return first / (1 - beta1 ** (steps + 1)) / corrected


def _known_rules(
    groups: Sequence[Mapping[str, Any]], hyperparameters: Mapping[str, Any]
) -> list[_Rule]:
    """Returns SGD and AdamW with the usual constants, and with those of the submission."""
    given = {k: v for k, v in hyperparameters.items() if isinstance(v, float | int)}
    pairs = {(0.9, 0.999), (0.9, 0.95), (0.9, 0.99)}
    pairs |= {tuple(g["betas"][:2]) for g in groups if len(g.get("betas", ())) >= 2}
    own = [
        given.get(f"beta{i}", 1 - given.get(f"one_minus_beta{i}", 1 - usual))
        for i, usual in ((1, 0.9), (2, 0.999))
    ]
    pairs |= {(own[0], own[1])}
    momenta = {0.0, 0.9, 0.95, 0.99, own[0], float(given.get("momentum", 0.0))}
    momenta |= {float(g["momentum"]) for g in groups if "momentum" in g}
    decays = {0.0, *(float(g["weight_decay"]) for g in groups if g.get("weight_decay"))}
    epsilons = {1e-8, *(float(g["eps"]) for g in groups if isinstance(g.get("eps"), float))}
    rules: list[_Rule] = [
        _Sgd(momentum, decay, nesterov=nesterov)
        for momentum, decay, nesterov in product(sorted(momenta), sorted(decays), (False, True))
        if momentum or not nesterov
    ]
    adam = product(sorted(pairs), sorted(epsilons), sorted(decays))
    return [*rules, *(_Adam(*betas, eps, decay) for betas, eps, decay in adam)]


def _optimizers(state: Any) -> list[Any]:
    """Returns the optimizers in a submission's state."""
    if isinstance(state, Mapping):
        return [found for value in state.values() for found in _optimizers(value)]
    if isinstance(state, list | tuple):
        return [found for value in state for found in _optimizers(value)]
    return [state] if isinstance(getattr(state, "param_groups", None), list) else []
