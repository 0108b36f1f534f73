"""Optimizer classes given by their dotted names: each is written as the folder of a submission.

The folder is a submission like any other: it has a content hash, which covers the class's name, the
version of its package and the options; it exists when a sweep is resumed; it can be read.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch.optim import Optimizer

from harness.submission.loading import FILE, SubmissionError, candidates
from harness.sweep.options import OptimizerOptions
from harness.system.signals import interrupted
from scoring.escaping import error_message
from scoring.names import known_names
from scoring.writing import write_text

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_TEMPLATE = '''"""{name} ({made_of}), made a submission of by chronograd."""

from submissions import dotted

get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = (
    dotted.submission(
        {name!r},
        made_of={made_of!r},
        schedule={schedule!r},
        defaults={defaults!r},
    )
)
'''


def is_dotted(name: str) -> bool:
    """Returns whether `name` is the dotted name of a class, not a submission's name or path."""
    return looks_dotted(name) and not candidates(name)


def looks_dotted(name: str) -> bool:
    """Returns whether `name` has the form of a class's dotted name."""
    return _DOTTED.fullmatch(name) is not None and not name.endswith(".py")


@contextmanager
def packages_read_once() -> Iterator[None]:
    """Context in which the list of installed packages is read once, which takes 0.3 s.

    Otherwise, a submission made of a class reads it whenever it is loaded.
    """
    read = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = functools.cache(read)
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = read


def write(names: Sequence[str], folder: Path, options: OptimizerOptions) -> list[str]:
    """Writes a submission for each optimizer class in `names`; returns `names` with their paths.

    Args:
        names: Names of submissions and optimizer classes.
        folder: Folder in which one folder per class is written.
        options: How the optimizers are used.

    Raises:
        SubmissionError: A class cannot be used, or the folder holds one with other options.
    """
    if not any(map(is_dotted, names)):
        if options != OptimizerOptions():
            raise SubmissionError(
                "--schedule, --warmup and --grad-clip apply only to optimizer classes"
            )
        return [*names]
    return [_write_one(name, folder, options) if is_dotted(name) else name for name in names]


def _check_exists(name: str) -> None:
    """Raises ValueError, with the nearest optimizers, if a module has no class of that name."""
    module, _, attribute = name.rpartition(".")
    try:
        found = importlib.import_module(module)
    except ImportError:
        return  # `dotted.optimizer_class` reports it
    if not hasattr(found, attribute):
        classes = [
            key
            for key, value in vars(found).items()
            if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
        ]
        raise ValueError(f"{module} has no {attribute!r}. {known_names(attribute, classes)}")


def _write_one(name: str, folder: Path, options: OptimizerOptions) -> str:
    from submissions import dotted

    try:
        _check_exists(name)
        dotted.optimizer_class(name)
    except ValueError as error:
        raise SubmissionError(str(error)) from None
    except BaseException as error:
        if interrupted():
            raise
        raise SubmissionError(f"{name}: cannot be imported ({error_message(error)})") from None
    defaults = {"warmup_factor": options.warmup, "grad_clip": options.grad_clip}
    given = {key: value for key, value in defaults.items() if value is not None}
    text = _TEMPLATE.format(
        name=name, made_of=dotted.version(name), schedule=str(options.schedule), defaults=given
    )
    file = folder / name / FILE
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise SubmissionError(
            f"{file}: was written with other options or for another version; choose another --out"
        )
    write_text(file, text)
    return str(file.parent)
