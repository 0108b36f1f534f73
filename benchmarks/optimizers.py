"""Measures the time of every submission's step relative to AdamW, and the memory of its state.

Every submission trains the parameters of a transformer on a linear loss whose gradients cost almost
nothing; the time of a submission that leaves the parameters unchanged is subtracted. A round
measures each of them once, one after another, so that all run on the same machine; times are means
over a round's steps, medians over the rounds, and ratios to torch's own foreach AdamW and,
where a package has the method (`benchmarks.references`), to that, trained in the same way.

    python -m benchmarks.optimizers [SUBMISSION ...] [--rounds 5] [--steps 20] [--width 256]
                                    [--device cpu]
    python -m benchmarks.optimizers --write-memory    # into every submission_info.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from benchmarks.references import reference
from harness.spec import LossType, ParameterType
from harness.submission import loading
from harness.submission.files import runs_on
from harness.submission.search_space import load as load_search_space
from scoring.tree import SEARCH_SPACE_FILE
from submissions import recipe, schedules

MEMORY = "state_bytes_per_parameter"  # the key in submission_info.json
REFERENCE = "the package's "  # before a submission's name: what it is compared with
ADAMW_NAME = "torch AdamW, foreach"
ADAMW: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.01}


class Idle(torch.optim.Optimizer):
    """Computes the gradients and leaves the parameters unchanged."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Returns the result of the closure."""
        return closure() if closure else None


BASES = {
    "nothing": lambda params, *_: Idle(params, {}),
    ADAMW_NAME: lambda params, *_: torch.optim.AdamW(params, foreach=True, **ADAMW),
    "torch AdamW, fused": lambda params, *_: torch.optim.AdamW(params, fused=True, **ADAMW),
}


def transformer(width: int, device: str) -> nn.Module:
    """The parameters of four blocks, an embedding and an output layer; it is never called."""
    torch.manual_seed(0)
    blocks = [
        nn.ModuleDict(
            {
                "norm": nn.LayerNorm(width),
                "qkv": nn.Linear(width, 3 * width),
                "out": nn.Linear(width, width),
                "up": nn.Linear(width, 4 * width),
                "down": nn.Linear(4 * width, width),
            }
        )
        for _ in range(4)
    ]
    parts = {"embedding": nn.Embedding(16 * width, width), "blocks": nn.ModuleList(blocks)}
    return nn.ModuleDict({**parts, "head": nn.Linear(width, 4 * width)}).to(device)


def workload(model: nn.Module, steps: int) -> Any:
    """The workload as submissions see it: a loss linear in the parameters, with fixed gradients."""
    fixed = [torch.randn_like(p) / p.numel() ** 0.5 for p in model.parameters()]

    def loss_fn(label_batch: Any, logits_batch: Any, **_: Any) -> dict[str, torch.Tensor]:
        pairs = zip(logits_batch, fixed, strict=True)
        summed = torch.stack([torch.vdot(p.flatten(), g.flatten()) for p, g in pairs]).sum()
        return {"summed": summed, "n_valid_examples": torch.ones_like(summed)}

    def kind(name: str, p: torch.Tensor) -> ParameterType:
        if name.startswith("embedding"):
            return ParameterType.EMBEDDING
        if "norm" in name:
            scale = name.endswith("weight")
            return ParameterType.LAYER_NORM_SCALE if scale else ParameterType.LAYER_NORM_BIAS
        return ParameterType.WEIGHT if p.ndim == 2 else ParameterType.BIAS

    return SimpleNamespace(
        step_hint=2 * steps,
        max_allowed_runtime_sec=1.0,
        eval_period_time_sec=0.1,
        num_train_examples=1000,
        loss_type=LossType.MEAN_SQUARED_ERROR,
        target_metric_name="loss",
        metrics_logger=None,
        model_params_types={n: kind(n, p) for n, p in model.named_parameters()},
        is_output_params=lambda name: name.startswith("head."),
        model_fn=lambda params, model_state, **_: (list(params.parameters()), model_state),
        loss_fn=loss_fn,
    )


def functions_of(name: str) -> tuple[Any, Any]:
    """The functions and the first point of a submission or of one of the bases."""
    if name.startswith(REFERENCE):
        found = reference(name.removeprefix(REFERENCE))
        assert found is not None
        make = found[1]
        functions = recipe.submission(
            lambda groups, *_: make(*groups),
            schedules.cosine,
            {"warmup_factor": 0.1},
            lambda *both: [*both],
        )
        return functions, None
    if name in BASES:
        return recipe.submission(BASES[name], schedules.none, fixed={}), None
    folder = loading.find(name)
    space = folder / SEARCH_SPACE_FILE
    point = load_search_space(space).points(0, 1, 1)[0][0] if space.is_file() else None
    return loading.load(folder), point and SimpleNamespace(**point)


def train(name: str, width: int, steps: int, device: str) -> tuple[float, float]:
    """Seconds per step of `update_params`, and the state's bytes per parameter."""
    functions, point = functions_of(name)
    model = transformer(width, device)
    view = workload(model, steps)
    queue = itertools.repeat({"inputs": torch.zeros(1), "targets": torch.zeros(1)})
    state = functions.init_optimizer_state(view, model, None, point, (0, 0))
    began = 0.0
    for step in range(2 * steps):
        if step == steps:  # the first half is warm-up
            began = now(device)
        batch = functions.data_selection(view, queue, state, model, None, point, step, (0, 0))
        state, model, _ = functions.update_params(
            workload=view,
            current_param_container=model,
            current_params_types=view.model_params_types,
            model_state=None,
            hyperparameters=point,
            batch=batch,
            loss_type=view.loss_type,
            optimizer_state=state,
            eval_results=[],
            global_step=step,
            rng=(0, 0),
        )
    seconds = (now(device) - began) / steps
    return seconds, state_bytes(state, model, queue) / sum(p.numel() for p in model.parameters())


def now(device: str) -> float:
    """The time once the device is idle; on a CPU the process's own, unaffected by other work."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def state_bytes(state: Any, model: nn.Module, queue: object) -> int:
    """The bytes of all tensors that a submission keeps besides the model and its gradients."""
    own = [model, queue, *model.parameters(), *model.buffers()]
    seen = {id(thing) for thing in own}
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors(state, seen)}
    for p in model.parameters():
        storages.pop(p.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in storages.values())


def tensors(thing: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    """Every tensor reachable from an object, once."""
    if id(thing) in seen or isinstance(thing, type):
        return
    seen.add(id(thing))
    held: Iterable[Any] = ()
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        held = thing.values()
    elif isinstance(thing, (list, tuple, set, deque)):
        held = thing
    elif hasattr(thing, "__dict__"):
        held = vars(thing).values()
    for part in list(held):
        yield from tensors(part, seen)


def everywhere() -> list[str]:
    """The library's submissions that train any model; others need a workload's examples."""
    return [n for n in loading.available() if runs_on(loading.library() / n) is None]


def measured_memory(name: str) -> float:
    """The value in submission_info.json: bytes per parameter at a small width."""
    return round(train(name, width=32, steps=20, device="cpu")[1], 2)


def write_memory() -> None:
    """Measures every submission's state and writes it into its submission_info.json."""
    for name in everywhere():
        file = loading.library() / name / "submission_info.json"
        info = json.loads(file.read_text(encoding="utf-8")) | {MEMORY: measured_memory(name)}
        file.write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name:45} {info[MEMORY]:8.2f} bytes per parameter", flush=True)


def main() -> None:
    """Rounds of all submissions; prints medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("submissions", nargs="*", default=everywhere())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write-memory", action="store_true")
    arguments = parser.parse_args()
    if arguments.write_memory:
        write_memory()
        return
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    names = [*BASES]
    for name in map(_full_name, arguments.submissions or everywhere()):
        names += [name, *([REFERENCE + name] if reference(name) else [])]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    memory = {}
    for _ in range(arguments.rounds):
        for name in names:
            lap, memory[name] = train(name, arguments.width, arguments.steps, arguments.device)
            seconds[name].append(lap)
    idle = seconds[names[0]]
    own = {
        name: [lap - nothing for lap, nothing in zip(laps, idle, strict=True)]
        for name, laps in seconds.items()
    }
    print(f"{'':40} ms per step  x AdamW  bytes per parameter  x package (its bytes)")
    for name in names[1:]:
        if name.startswith(REFERENCE):
            continue
        line = f"{name:40} {1000 * statistics.median(own[name]):11.3f}"
        line += f" {_ratio(own[name], own[ADAMW_NAME]):8.2f} {memory[name]:20.2f}"
        if (compared := REFERENCE + name) in own:
            package, _ = reference(name) or ("", None)
            ratio = _ratio(own[name], own[compared])
            line += f"  {ratio:.2f} {package} ({memory[compared]:.2f})"
        print(line)


def _full_name(name: str) -> str:
    """With the folder of its tuning, for those of the library."""
    folder = loading.find(name)
    inside = folder.is_relative_to(loading.library())
    return folder.relative_to(loading.library()).as_posix() if inside else name


def _ratio(laps: list[float], others: list[float]) -> float:
    """The median over the rounds."""
    return statistics.median(a / b for a, b in zip(laps, others, strict=True))


if __name__ == "__main__":
    main()
