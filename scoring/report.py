"""The leaderboard for people: a table in the terminal and a page that needs nothing but itself."""

from __future__ import annotations

import io
import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.leaderboard import Leaderboard
from scoring.read import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


def format_number(value: float) -> str:
    """About three digits: 1,234, 56.7, 8.90, 0.0123; the infinity sign for a miss."""
    if math.isinf(value):
        return "∞"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def terminal_table(board: Leaderboard) -> Table:
    """The leaderboard with the median seconds to target of each workload, the fastest in bold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    experiment = board.experiment
    title = f"{experiment.ruleset.name}, {experiment.tuning} tuning"
    studies = f"median over {experiment.studies} studies"
    unit = "seconds to target" if experiment.clock == "wall" else "seconds on the step clock"
    caption = f"{unit}, {studies}; * fastest; n/{experiment.studies} studies reached the target"
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("submission", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    for workload in board.times.columns:
        table.add_column(Text(workload), justify="right", overflow="fold", min_width=5)
    for name in board.standings.index.tolist():
        standing = board.standings.loc[name]
        cells = [_time_cell(board, name, workload) for workload in board.times.columns]
        texts = [Text(cell, style="bold" if "*" in cell else "") for cell in cells]
        table.add_row(f"{standing['rank']:.0f}", Text(name), f"{standing['score']:.3f}", *texts)
    return table


def _time_cell(board: Leaderboard, name: str, workload: str) -> str:
    """One cell of the terminal's table: time, mark of the fastest, studies if not all reached."""
    cell = format_number(board.times[workload][name])
    cell += "*" if board.ratios[workload][name] == 1 else ""
    reached, studies = board.reached[workload][name], board.experiment.studies
    return cell if reached == studies else f"{cell} {reached}/{studies}"


def write_html(results: Results, board: Leaderboard, path: Path) -> None:
    """Writes the leaderboard as one self-contained page: aside, then renamed over `path`."""
    import jinja2

    from scoring.plots import curves_figure, line_styles, profiles_figure

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=format_number, plain=_plain)
    workloads = results.experiment.workloads
    page = environment.get_template("leaderboard.html.j2").render(
        board=board,
        experiment=results.experiment,
        results=results,
        colors={name: style["color"] for name, style in line_styles(board.times.index).items()},
        infinity=math.inf,
        failed=results.trials[results.trials["status"] == "failed"].to_dict("records"),
        profiles=_svg(profiles_figure(board), "profiles"),
        curves={name: _svg(curves_figure(results, name), name) for name in workloads},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(page, encoding="utf-8")
    aside.replace(path)


def _plain(value: Any) -> str:
    """A value of experiment.json for reading: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _svg(figure: Figure, salt: str) -> str:
    """A figure as an inline SVG element: text stays text, equal figures give equal bytes.

    What a page has no use for goes: the XML prologue, metadata, and the ids matplotlib counts up
    from 1 in each figure (those it refers to are hashes, kept apart by `salt`).
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", bbox_inches="tight")
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r' id="[a-zA-Z][\w.]*_\d+"', "", svg)
