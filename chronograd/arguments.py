"""Checks the arguments of `chronograd.run` and `chronograd.sweep`, and converts them."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronograd.results import PathLike, Results
from scoring.plain import to_plain
from scoring.records import RunOptions, UserError
from scoring.tree import OPTIMIZERS
from scoring.writing import write_text

if TYPE_CHECKING:
    import torch

    from harness.sweep.options import OptimizerOptions

    MakeOptimizer = Callable[[Any, Any, int], torch.optim.Optimizer]
    Submission = PathLike | type[torch.optim.Optimizer] | MakeOptimizer

SearchSpace = PathLike | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def is_one(submissions: Any) -> bool:
    """Returns whether this is one submission, not several."""
    return isinstance(submissions, (str, os.PathLike, type)) or callable(submissions)


def check_kinds(submissions: Any) -> None:
    """Raises UserError unless these are submissions, at least one."""
    if not isinstance(submissions, Iterable) or not (given := [*submissions]):
        raise UserError(f"submissions: expected one or several, got {submissions!r}")
    for one in given:
        if not is_one(one):
            raise UserError(
                f"{one!r} is not a submission; give a name, a path, an optimizer class, or a "
                "function that makes an optimizer"
            )


def name_of(submission: Any) -> str:
    """Returns the name of a submission that is given by name, by path or as an object."""
    if isinstance(submission, (str, os.PathLike)):
        return Path(submission).resolve().name
    return str(submission.__name__)


def split_options(
    options: Mapping[str, Any], function: Callable[..., Results]
) -> tuple[dict[str, Any], OptimizerOptions]:
    """Returns the options of trials and sweeps, and those of optimizers, given to a function."""
    from harness.sweep.options import OptimizerOptions, Schedule, SweepOptions

    known = {field.name for kind in (RunOptions, SweepOptions) for field in fields(kind)}
    known |= {field.name for field in fields(OptimizerOptions)}
    known -= {"track"}  # trackers are for the command line
    if unknown := sorted(options.keys() - known):
        from scoring.names import known_names

        known |= inspect.signature(function).parameters.keys() - {"options"}
        raise UserError(f"no option {unknown[0]!r}. {known_names(unknown[0], sorted(known))}")
    own = fields_of(OptimizerOptions, options)
    if "schedule" in own:
        try:
            own["schedule"] = Schedule(own["schedule"])
        except ValueError:
            raise UserError(
                f"schedule must be one of {', '.join(Schedule)}, got {own['schedule']!r}"
            ) from None
    plain = dict(options)
    for name in ("data_dir", "checkpoint_dir"):
        if plain.get(name) and "://" not in str(plain[name]):
            plain[name] = str(Path(plain[name]).absolute())
    return plain, OptimizerOptions(**own)


def fields_of(kind: type[Any], options: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Returns those options that are fields of a record."""
    names = {field.name for field in fields(kind)}
    return {**defaults, **{name: value for name, value in options.items() if name in names}}


def written(
    submissions: Sequence[Submission], place: Path, optimizer: OptimizerOptions
) -> list[str]:
    """Returns names and paths of submissions; writes those given as objects or dotted names."""
    from harness.commands import dotted, objects

    folder = place / OPTIMIZERS
    names = [objects.submission_of(given, folder, optimizer) for given in submissions]
    is_used = any(name != given for name, given in zip(names, submissions, strict=True))
    if is_used and not any(map(dotted.is_dotted, names)):
        return names
    return dotted.write(names, folder, optimizer)


def space_file(given: SearchSpace | None, place: Path) -> Path | None:
    """Returns the path of a search space, which is written into OUT if its content is given."""
    if given is None or isinstance(given, (str, os.PathLike)):
        return None if given is None else Path(given).absolute()
    text = json.dumps(to_plain(given), indent=2) + "\n"
    file = place / "search_space.json"
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise UserError(f"{file}: holds another search space; choose another `out`")
    write_text(file, text)
    return file
