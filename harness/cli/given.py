"""What the user gives, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from harness.cli.options import ClockKind, Device, Until
from scoring.files import load_json, parse_json


def refuse_beside_resume(context: typer.Context) -> None:
    """Raises BadParameter for options that `--resume DIR` would have to ignore."""
    fit = {
        "resume", "studies", "address", "checkpoint_dir", "max_attempts", "hang_timeout", "pruning",
        "risk", "history", "order", "max_concurrent", "exclusive_nodes", "track", "dry_run",
        "trust", "accept_change",
    }  # fmt: skip
    for name in context.params.keys() - fit:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                "--resume DIR takes all from DIR; only these go with it: "
                + ", ".join(f"--{fits.replace('_', '-')}" for fits in sorted(fit))
            )


def say_which(names: Sequence[str], tuning: str | None) -> None:
    """Says on stderr which submission is taken where a name means more than one."""
    from harness.commands.dotted import looks_dotted
    from harness.submission.loading import candidates, library

    root = library().resolve()
    for name in names:
        found = candidates(name, tuning)
        here = next((place for place in found if not place.is_relative_to(root)), None)
        if here is None:
            continue
        if looks_dotted(name):
            typer.echo(f"{name}: {here} is taken, not an optimizer class", err=True)
        elif found[0] != here:
            note = f"the library's submission is taken; for {here} give ./{name}"
            typer.echo(f"{name}: {note}", err=True)
        elif len(found) > 1:
            typer.echo(f"{name}: {here} is taken, not the library's submission", err=True)


def hyperparameters(given: str | None) -> dict[str, Any] | None:
    """--hparams: a JSON object, or the path of a file that holds one."""
    if given is None:
        return None
    try:
        inline = given.lstrip().startswith("{")
        point = parse_json(given) if inline else load_json(Path(given))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise typer.BadParameter(f"--hparams {given[:200]}: {why}") from None
    if not isinstance(point, dict):
        raise typer.BadParameter(f"--hparams must be a JSON object, got {str(point)[:40]}")
    return point


def options_of(
    seed: int,
    clock: ClockKind,
    until: Until,
    stop_diverged: bool,
    compile: bool,
    data_dir: Path | None,
    cpus_per_trial: int,
) -> dict[str, Any]:
    """The fields of an Experiment that the user sets directly."""
    return {
        "seed": seed,
        "clock": clock.value,
        "until": until.value,
        "stop_diverged": stop_diverged,
        "compile": compile,
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "cpus_per_trial": cpus_per_trial,
    }


def processes_of(gpus: int, processes: int) -> dict[str, int]:
    """The fields of an Experiment that say how many processes train a trial."""
    if gpus and processes > 1:
        raise typer.BadParameter(
            "--processes-per-trial is for trials without GPUs; with --gpus-per-trial each GPU has "
            "a process"
        )
    return {"gpus_per_trial": gpus, "processes_per_trial": processes}


def on_gpu(device: Device) -> bool:
    """Whether a trial runs on a GPU; raises BadParameter where it should and there is none."""
    import torch

    if device is Device.CUDA and not torch.cuda.is_available():
        raise typer.BadParameter("--device cuda: this torch sees no GPU")
    return device is Device.CUDA or (device is Device.AUTO and torch.cuda.is_available())
