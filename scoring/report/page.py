"""The leaderboard as one self-contained page: no file beside it, no request to any network."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from scoring.files import read_bytes
from scoring.leaderboard import Leaderboard
from scoring.plain import to_plain
from scoring.profiles import profile
from scoring.reading.results import Results
from scoring.report.plots import (
    COLORS,
    GRID,
    MUTED,
    TEXT,
    figure,
    group,
    learning_curves,
    performance_profiles,
)
from scoring.report.terminal import format_number, format_odds, format_seconds
from scoring.tree import EVALUATIONS_FILE
from scoring.writing import write_text

_POINTS = 72  # an SVG's unit, per inch


def write_html(board: Leaderboard, path: Path) -> None:
    """Writes the leaderboard's page: aside, then renamed over `path`.

    Names and messages of logs are escaped wherever they stand.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=format_number, seconds=format_seconds, odds=format_odds, plain=_plain
    )
    results, scope = board.results, board.results.scope
    profiles, geometry = _profiles(board)
    names = sorted(results.submissions)
    page = environment.get_template("page.html.j2").render(
        board=board,
        results=results,
        scope=scope,
        palette=len(COLORS),
        number_of={name: number for number, name in enumerate(names)},
        outcomes=sorted({key for standing in board.standings for key in standing.trials}),
        failed=[trial for trial in results.trials if trial.failure],
        isfinite=math.isfinite,
        fastest=dict(zip(scope.workloads, board.stages.best.tolist(), strict=True)),
        profiles=profiles,
        geometry=geometry,
        curves={name: _curves(board, name) for name in scope.workloads},
        hashes={"ruleset": _ruleset_hash(results), "measurements": _results_hash(results)},
    )
    write_text(path, page)


def _profiles(board: Leaderboard) -> tuple[str, dict[str, Any]]:
    """The profiles' SVG, and what the page needs to read values off it."""
    drawn = figure()
    ax = performance_profiles(board, drawn.add_subplot())
    svg = _svg(drawn, "profiles")
    r_max, scored = board.results.scope.ruleset.r_max, board.results.scope.scored
    box = ax.get_window_extent()
    lines = {}
    for standing in board.standings:
        ratios_b = np.array([standing.cells[name].ratio for name in scored])
        tau, rho = profile(ratios_b, r_max)
        lines[group(board, standing.name)] = [tau.tolist(), rho.tolist()]
    scale = _POINTS / drawn.dpi
    return svg, {"left": box.x0 * scale, "right": box.x1 * scale, "r_max": r_max, "lines": lines}


def _curves(board: Leaderboard, workload: str) -> str:
    """The SVG of a workload's learning curves."""
    drawn = figure()
    learning_curves(board, workload, drawn.add_subplot())
    return _svg(drawn, workload)


def _svg(drawn: Figure, salt: str) -> str:
    """A figure as an inline SVG element: text stays text, equal figures give equal bytes.

    Colours become the page's, for dark mode; what belongs to a submission gets its class; points
    are rounded to a tenth, and those that change nothing one can see are left out. The XML
    prologue, metadata and the ids that matplotlib counts up from 1 in each figure go (those it
    refers to are hashes, kept apart by `salt`).
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": salt, "path.simplify_threshold": 0.5}
    ):
        drawn.savefig(buffer, format="svg", transparent=True)
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' id="(submission-\d+)"', r' class="\1"', svg)
    svg = re.sub(r' id="[a-zA-Z][\w.]*_\d+"', "", svg)
    svg = re.sub(r'(?<= d=")[^"]+', lambda path: _rounded(path[0]), svg)
    names = [f"--series-{number}" for number in range(len(COLORS))]
    for color, name in zip(
        [*COLORS, TEXT, MUTED, GRID], [*names, "--text", "--muted", "--grid"], strict=True
    ):
        svg = svg.replace(color, f"var({name})")
    return svg.replace("#000000", "var(--text)")


def _rounded(path: str) -> str:
    """The data of an SVG path with one digit after the point and no needless blanks."""
    path = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path)
    return re.sub(r"\s+", " ", re.sub(r"\s*([A-Za-z])\s*", r"\1", path)).strip()


def _results_hash(results: Results) -> str:
    """SHA-256 over the place and the bytes of every eval_measurements.csv that was read."""
    digest = hashlib.sha256()
    for trial in results.trials:
        key = [trial.submission, trial.workload, trial.study, trial.trial]
        digest.update(json.dumps(key).encode())
        digest.update(hashlib.sha256(read_bytes(trial.folder / EVALUATIONS_FILE)).digest())
    return digest.hexdigest()


def _ruleset_hash(results: Results) -> str:
    """SHA-256 of the ruleset and of all goals and budgets as applied."""
    scope = results.scope
    content = [scope.ruleset.model_dump(), to_plain(scope.workloads), scope.tuning, scope.studies]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> str:
    """A value of experiment.json for reading: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
