"""The loss around the weights that a trial kept: figure and numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from findings.frame import landscape
from findings.frame.figure import panels, style
from harness.commands.reproduce import DPI, FIGURE, RESULT
from harness.commands.verify import kept_weights, model_with, read_kept
from harness.trial.attempt import prepare_process
from scoring.experiment import Experiment
from scoring.names import known_names
from scoring.plain import write_json
from scoring.reading.read import read
from scoring.records import TrialSpec, UserError
from scoring.tree import read_trial

if TYPE_CHECKING:
    from harness.spec import LoadWorkload, Workload

LINE_POINTS, EIGENVALUES = 51, 5
_SHOWN = 0.9  # quantile of the plane's losses at which the figure cuts them off


def find_trial(out: Path, name: str) -> TrialSpec:
    """Returns the trial of a results tree with this key, or whose key ends with it.

    Raises:
        UserError: There is no such trial, or several.
    """
    Experiment.read(out)  # logs of other harnesses are refused: they have no weights
    specs = [read_trial(trial.folder)[0] for trial in read([out]).trials]
    named = name.rstrip("/")
    found = [s for s in specs if s.key == named or s.key.endswith(f"/{named}")]
    if len(found) > 1:
        which = ", ".join(spec.key for spec in found[:3])
        raise UserError(f"{out}: {name!r} is the end of several trials' names: {which}")
    if not found:
        keys = [spec.key for spec in specs]
        raise UserError(f"{out}: no finished trial {name!r}. {known_names(name, keys)}")
    return found[0]


def draw(
    out: Path,
    spec: TrialSpec,
    load_workload: LoadWorkload,
    folder: Path,
    *,
    examples: int,
    points: int,
    seed: int,
    checkpoints: str | None = None,
    data_dir: str | None = None,
    announce: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Evaluates the loss around a trial's weights and writes figure.png, figure.pdf, result.json.

    Args:
        out: The results tree.
        spec: The trial.
        load_workload: Loads a workload, given its name, the data directory and the device.
        folder: Folder for the files.
        examples: Number of training examples that the loss is a mean of.
        points: Number of points on each side of the plane.
        seed: Seed of the directions.
        checkpoints: Path or URI of the checkpoints; None for this machine's default folder.
        data_dir: Folder of the datasets; None for the recorded one.
        announce: Receives a line before each part.

    Returns:
        What result.json has.
    """
    prepare_process(spec)
    weights = read_kept(kept_weights(out, checkpoints)(spec), "cpu")
    workload = load_workload(spec.workload, data_dir or spec.data_dir, "cpu")
    model = model_with(weights, workload, spec)
    examples = min(examples, workload.num_train_examples)
    loss = landscape.fixed_loss(workload, model, examples)
    directions = [landscape.filter_normalised(model, 2 * seed + n) for n in (0, 1)]
    line_a, sides = np.linspace(-1, 1, LINE_POINTS), np.linspace(-1, 1, points)
    announce(f"{2 * LINE_POINTS + points**2:,} evaluations of {examples:,} training examples")
    lines = [landscape.line(model, loss, direction, line_a) for direction in directions]
    plane_ab = landscape.plane(model, loss, directions, sides, sides)
    announce(f"the {EIGENVALUES} largest eigenvalues of the Hessian")
    eigenvalues = landscape.largest_eigenvalues(model, loss, EIGENVALUES, seed)
    result = {
        "trial": spec.key,
        "loss": float(loss().detach()),
        "examples": examples,
        "seed": seed,
        "eigenvalues": eigenvalues,
        "line": {"steps": line_a.tolist(), "losses": [line.tolist() for line in lines]},
        "plane": {"steps": sides.tolist(), "losses": plane_ab.tolist()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULT, result)
    figure = _figure(spec, workload, result)
    for ending in ("png", "pdf"):
        figure.savefig(folder / f"{FIGURE}.{ending}", dpi=DPI)
    return result


def _figure(spec: TrialSpec, workload: Workload, result: dict[str, Any]) -> Any:
    """Two lines, the plane as contours and as a surface, and the eigenvalues."""
    title = (
        f"{spec.key}: training loss of {result['examples']:,} examples around the last weights, "
        "along random directions normalised by filter (Li et al. 2018)"
    )
    figure, axes = panels(title, columns=2, rows=2)
    lines, contours, surface, bars = axes
    for number, losses in enumerate(result["line"]["losses"]):
        label = ("first direction", "second direction")[number]
        lines.plot(result["line"]["steps"], losses, label=label, **style(number))
    lines.set(xlabel="step, in norms of each filter", ylabel="loss")
    lines.legend(frameon=False)
    sides = np.array(result["plane"]["steps"])
    plane_ab = np.array(result["plane"]["losses"])
    top = float(np.nanquantile(plane_ab[np.isfinite(plane_ab)], _SHOWN))
    landscape.draw_contours(contours, sides, sides, plane_ab, top)
    place = surface.get_subplotspec()
    surface.remove()
    landscape.draw_surface(figure, place, sides, sides, plane_ab, top)
    numbers = range(1, len(result["eigenvalues"]) + 1)
    bars.bar(list(numbers), result["eigenvalues"], color=style(0)["color"])
    bars.set(xlabel="largest first", ylabel="eigenvalue of the Hessian", xticks=list(numbers))
    return figure
