"""Muon (Jordan et al. 2024), its matrices shared out among processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import distributed, nn
from torch.optim import Optimizer

from harness.spec import ParameterType, Tensor

MATRICES = (
    ParameterType.WEIGHT, ParameterType.CONV_WEIGHT, ParameterType.ATTENTION_Q,
    ParameterType.ATTENTION_K, ParameterType.ATTENTION_V, ParameterType.ATTENTION_OUT,
    ParameterType.ATTENTION_QKV, ParameterType.ATTENTION_KV,
)  # fmt: skip
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a, b, c of Newton-Schulz
ITERATIONS = 5


def hidden_and_rest(
    model: nn.Module, workload: Any, most_axes: int = 4
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Hidden matrices of at most so many axes; and embeddings, output layer, biases and norms.

    Embeddings are told by their names too, since criteo1tb's are typed as weights.
    """
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for full_name, parameter in model.named_parameters():
        name = full_name.removeprefix("_orig_mod.").removeprefix("module.")
        matrix = 2 <= parameter.ndim <= most_axes and workload.model_params_types[name] in MATRICES
        outer = "embedding" in name or workload.is_output_params(name)
        (hidden if matrix and not outer else rest).append(parameter)
    return hidden, rest


def working_type(parameter: Tensor) -> torch.dtype:
    """What Newton-Schulz computes in: bfloat16 where the machine has it, float64 of float64.

    A CPU without bfloat16 instructions computes in float32, which is many times as fast there.
    """
    if parameter.dtype == torch.float64:
        return torch.float64
    if parameter.device.type != "cpu":
        return torch.bfloat16
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def orthogonalised(matrix: Tensor) -> Tensor:
    """Newton-Schulz: singular values to about 1, in the type of the matrix [rows, columns]."""
    a, b, c = COEFFICIENTS
    x: Tensor = matrix / matrix.norm().clamp(min=1e-7)
    if x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def owners(shapes: Sequence[torch.Size], processes: int) -> list[int]:
    """Which process orthogonalises each matrix: the largest first, to the one with least to do."""
    costs = [min(rows, columns) ** 2 * max(rows, columns) for rows, columns in shapes]
    loads, owner = [0] * processes, [0] * len(shapes)
    for number in sorted(range(len(shapes)), key=lambda n: (-costs[n], n)):
        owner[number] = loads.index(min(loads))
        loads[owner[number]] += costs[number]
    return owner


class ShardedMuon(Optimizer):
    """Muon with Nesterov momentum at AdamW's size (Liu et al. 2025, eq. 4), for matrices.

    The rule is::

        m = momentum * m + (1 - momentum) * g
        o = orthogonalised(momentum * m + (1 - momentum) * g)
        w = w - lr * weight_decay * w - lr * 0.2 * sqrt(max(rows, columns)) * o

    Each process orthogonalises its share and all get the result, bit for bit that of one process.
    A convolution's weight is a matrix of [out, the rest].

    Args:
        params: Matrices.
        lr: The learning rate.
        momentum: In [0, 1).
        weight_decay: Decoupled, in proportion to the learning rate.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:  # kept with the state, so that records say it
            group["working_type"] = str(working_type(group["params"][0]))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure gave."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            directions = [self._direction(p, group["momentum"]) for p in params]
            for p, o in zip(params, _shared_out(directions), strict=True):
                size = 0.2 * math.sqrt(max(o.shape))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(o.view_as(p).to(p.dtype), alpha=-group["lr"] * size)
        return loss

    def _direction(self, p: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's momentum [out, the rest], in what Newton-Schulz computes in."""
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(state["momentum"], momentum).flatten(1).to(working_type(p))


def _shared_out(matrices: list[Tensor]) -> list[Tensor]:
    """All matrices orthogonalised, each by one process."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return [orthogonalised(matrix) for matrix in matrices]
    owner = owners([m.shape for m in matrices], distributed.get_world_size())
    mine = distributed.get_rank()
    wide = torch.promote_types(matrices[0].dtype, torch.float32)  # gloo adds up no bfloat16
    parts = [
        orthogonalised(m).to(wide) if o == mine else torch.zeros_like(m, dtype=wide)
        for m, o in zip(matrices, owner, strict=True)
    ]
    flat = torch.cat([part.flatten() for part in parts])
    distributed.all_reduce(flat)  # of each number all but one summand are zero
    pieces = torch.split(flat, [m.numel() for m in matrices])
    return [piece.view(m.shape) for piece, m in zip(pieces, matrices, strict=True)]


class Both(Optimizer):
    """Several optimizers, each of its own parameters, as one.

    Args:
        parts: The optimizers, at least one.
    """

    def __init__(self, *parts: Optimizer) -> None:
        groups = [group for part in parts for group in part.param_groups]
        super().__init__(groups, {})  # takes over the groups themselves
        self.parts = parts
        self._join()

    def _join(self) -> None:
        """Gives the parts this optimizer's groups and state."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As every optimizer's."""
        super().load_state_dict(state_dict)
        self._join()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step of each; returns what the closure gave."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss
