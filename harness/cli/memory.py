"""The command memory, which shows what a training step needs."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import DataDirOption, JsonOption, print_json, say

if TYPE_CHECKING:
    import torch

    from harness.spec import Workload
    from harness.submission.loading import Submission

_SHARE = 0.5  # of this machine's free memory may be used for measuring
_PEAKS = 4  # times the account that a step may need while it is measured
_ROWS = {
    "weights": "weights",
    "gradients": "gradients",
    "state": "optimizer state",
    "activations": "activations",
    "kept": "activations, {blocks} blocks checkpointed",
    "block": "  one block, computed again",
}


class DType(StrEnum):
    """Types of weights and inputs."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def memory(
    workload: Annotated[str, typer.Argument(help="see `chronograd workloads`")],
    submission: Annotated[
        str, typer.Argument(help="a name, a path, or an optimizer class: torch.optim.AdamW")
    ],
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="examples per batch; default: the workload's")
    ] = None,
    dtype: Annotated[
        DType | None, typer.Option(help="type of weights and inputs; default: the workload's")
    ] = None,
    hparams: Annotated[
        str | None,
        typer.Option(help="hyperparameters: JSON, or a JSON file; default: a point of its space"),
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows the memory of a training step: weights, gradients, optimizer state, activations.

    Memory is counted from shapes, without allocating anything, and measured on
    this machine's CPU if that has enough memory.

    Example: chronograd memory nanogpt_mini adamw --batch-size 32
    """
    import torch

    import workloads
    from findings.frame import memory as account
    from harness.cli.given import hyperparameters
    from harness.commands import dotted
    from harness.submission import loading
    from harness.sweep.options import OptimizerOptions

    asked = workloads.get(workload, None if data_dir is None else str(data_dir.resolve()))
    kind = None if dtype is None else getattr(torch, dtype.value)
    with tempfile.TemporaryDirectory() as folder:
        (written,) = dotted.write([submission], Path(folder), OptimizerOptions())
        loaded = loading.load(loading.find(written))
        point = hyperparameters(hparams) or _first_point(loaded)
        arguments = (asked, loaded, point, batch_size or asked.train_batch_size, kind)
        counted = asdict(account.count(*arguments))
        measured, why = _measured(counted, *arguments)
    if as_json:
        print_json({"counted": counted, "measured": measured, "not_measured": why or None})
        return
    _show(counted, measured)
    if why:
        say(f"Not measured: {why}")


def _first_point(submission: Submission) -> dict[str, Any] | None:
    from harness.submission import search_space
    from harness.submission.files import search_space_of

    file = search_space_of(submission.folder)
    return search_space.load(file).points(0, 1, 1)[0][0] if file.is_file() else None


def _measured(
    counted: dict[str, Any],
    workload: Workload,
    submission: Submission,
    point: dict[str, Any] | None,
    batch_size: int,
    dtype: torch.dtype | None,
) -> tuple[dict[str, Any] | None, str]:
    """Returns what was measured, or None and why it was not."""
    import psutil

    from findings.frame import memory as account

    needed = _PEAKS * sum(counted[part] or 0 for part in ("weights", "state", "activations"))
    free = psutil.virtual_memory().available
    if needed > _SHARE * free:
        return None, f"it could need {_bytes(needed)}, and {_bytes(free)} are free on this machine"
    try:
        return asdict(account.measure(workload, submission, point, batch_size, dtype)), ""
    except RuntimeError as error:
        return None, f"the CPU cannot run this step: {str(error).splitlines()[0]}"


def _show(counted: dict[str, Any], measured: dict[str, Any] | None) -> None:
    say(f"{'':36} {'counted':>12} {'measured':>12}")
    for part, name in _ROWS.items():
        if part in ("kept", "block") and not counted["blocks"]:
            continue
        found = None if measured is None else measured[part]
        label = name.format(blocks=counted["blocks"])
        say(f"{label:36} {_bytes(counted[part]):>12} {_bytes(found):>12}")
    for label, extra in (("total", ("activations",)), ("total, checkpointed", ("kept", "block"))):
        if "block" in extra and not counted["blocks"]:
            continue
        parts = ("weights", "gradients", "state", *extra)
        say(f"{label:36} {_bytes(sum(counted[part] or 0 for part in parts)):>12}")
    if counted["state"] is None:
        say("The optimizer's state cannot be counted: its step reads values, not only shapes.")


def _bytes(count: float | None) -> str:
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:,.1f} GB"
