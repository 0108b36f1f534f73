"""What the user gives, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer


def refuse_beside_resume(context: typer.Context) -> None:
    """Raises BadParameter for options that `--resume DIR` would have to ignore."""
    fit = {
        "resume", "studies", "address", "checkpoint_dir", "max_attempts", "hang_timeout", "pruning",
        "risk", "history", "order", "max_concurrent", "exclusive_nodes", "track", "dry_run",
    }  # fmt: skip
    for name in context.params.keys() - fit:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                "--resume DIR takes all from DIR; only these go with it: "
                + ", ".join(f"--{fits.replace('_', '-')}" for fits in sorted(fit))
            )


def hyperparameters(given: str | None) -> dict[str, Any] | None:
    """--hparams: a JSON object, or the path of a file that holds one."""
    if given is None:
        return None
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8")
        point = json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--hparams {given}: {error}") from None
    if not isinstance(point, dict):
        raise typer.BadParameter(f"--hparams must be a JSON object, got {text}")
    return point
