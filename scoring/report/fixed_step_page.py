"""Writes a board at a fixed step as one self-contained page that makes no network requests."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from scoring.escaping import one_line
from scoring.fixed_step import FixedStepBoard
from scoring.loss_tests import Result
from scoring.noise import p_in_words
from scoring.plain import SCHEMA, to_plain
from scoring.report.fixed_step import to_csv, to_json
from scoring.report.fixed_step_arrow import board_table
from scoring.report.page import (
    About,
    chronograd_version,
    dashes,
    environment,
    made,
    markdown,
    stylesheet_parts,
)
from scoring.report.parquet import as_csv
from scoring.report.plots import WITHOUT_DATE, figure
from scoring.report.public import Public
from scoring.report.styles import COLORS, MUTED, line_styles, tidy
from scoring.report.svg import svg
from scoring.report.words import slugs
from scoring.verdicts import pair_verdict, verdict
from scoring.writing import write_text

_LONGEST = 24  # characters of a name in the figure
_LETTER = 6  # the width of a letter in the figure, in pixels


def write_html(board: FixedStepBoard, path: Path, about: About | None = None) -> None:
    """Writes the page under another name, then renames it to `path`."""
    write_text(path, render(board, about or About()))


def render(board: FixedStepBoard, about: About) -> str:
    """Renders the page; folders and machines of the publisher are not shown."""
    public = Public({entry.source for entry in board.runs.entries.values()})
    names = sorted(board.runs.entries)
    template = environment()
    template.filters.update(
        public=public.text, p=p_in_words, verdict=lambda result: verdict(board, result)
    )
    page = template.get_template("fixed_step.html.j2").render(
        about=about,
        title=about.title or f"Leaderboard: {board.runs.ruleset.name}",
        intro=markdown(about.intro),
        made=made(),
        version=chronograd_version(),
        board=board,
        runs=board.runs,
        rules=board.runs.rules,
        noise=board.tester.noise,
        page={
            "color": {name: place % len(COLORS) for place, name in enumerate(names)},
            "dashes": {name: dashes(place) for place, name in enumerate(names)},
            "slug": slugs({name: public.text(name) for name in names}),
        },
        better=board.better,
        scale=_scale(board),
        sentence=lambda first, second: f"{first} is {pair_verdict(board, first, second)}",
        isfinite=math.isfinite,
        figure=_svg(board),
        data={"files": _downloads(board, public)},
        **stylesheet_parts(),
    )  # fmt: skip
    return public.folders(page)


def _scale(board: FixedStepBoard) -> dict[str, dict[str, float]]:
    """Where the mean, its 95% interval and the target are on the bar of each entry, in percent."""
    bounds = {r.name: _interval(board, r) for r in board.compared}
    target = board.runs.goal.target
    low = min([target, *(low for low, _ in bounds.values())])
    high = max([target, *(high for _, high in bounds.values())])

    def percent(loss: float) -> float:
        return 100 * (loss - low) / (high - low) if high > low else 50.0

    return {
        r.name: {
            "left": percent(bounds[r.name][0]),
            "width": percent(bounds[r.name][1]) - percent(bounds[r.name][0]),
            "mean": percent(r.mean),
            "target": percent(target),
        }
        for r in board.compared
    }


def _interval(board: FixedStepBoard, result: Result) -> tuple[float, float]:
    """The 95% interval of a mean loss."""
    half = board.tester.noise.critical(0.025) * board.tester.noise.sigma
    half /= math.sqrt(len(result.losses))
    return result.mean - half, result.mean + half


def losses(board: FixedStepBoard, ax: Axes) -> Axes:
    """Draws the mean loss and its 95% interval over the stopping step, a point per entry.

    The dotted line is the target.
    """
    styles, target = line_styles(list(board.runs.entries)), board.runs.goal.target
    for result in board.compared:
        low, high = _interval(board, result)
        color = styles[result.name]["color"]
        step = result.steps or 0
        ax.plot([step, step], [low, high], color=color, linewidth=1.0)
        ax.plot(step, result.mean, "o", markersize=4, color=color)
    ax.axhline(target, color=MUTED, linestyle="dotted")
    ax.set(xlabel="stopping step", ylabel=f"mean {board.runs.goal.metric}")
    steps = [result.steps or 0 for result in board.compared]
    if steps and max(steps) > 2 * min(steps):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.xaxis.set_minor_formatter("{x:,.0f}")
        ax.tick_params("x", which="minor", labelsize=7, rotation=35)
    _name_points(board, ax)
    return tidy(ax)


def _name_points(board: FixedStepBoard, ax: Axes) -> None:
    """Writes the names of entries beside their points, the best first, where there is room."""
    styles = line_styles(list(board.runs.entries))
    taken: list[tuple[float, float, float]] = []  # left, right and height of each name
    for result in board.compared:
        point = (result.steps or 0, result.mean)
        x, y = ax.transData.transform(point)
        name = one_line(result.name)[:_LONGEST]
        width = _LETTER * len(name)
        if all(x + width < left or right < x or abs(y - height) > _LETTER * 2
               for left, right, height in taken):  # fmt: skip
            taken.append((x, x + width, y))
            ax.annotate(
                name, point, (3, 2), fontsize=6, textcoords="offset points",
                color=styles[result.name]["color"], parse_math=False,
            )  # fmt: skip


def _svg(board: FixedStepBoard) -> str:
    drawn = figure()
    losses(board, drawn.add_subplot())
    return svg(drawn, "losses")


def save_plots(board: FixedStepBoard, folder: Path) -> list[Path]:
    """Writes the figure as PNG and PDF."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figure()
    losses(board, drawn.add_subplot())
    paths = [folder / f"losses{kind}" for kind in (".png", ".pdf")]
    for path in paths:
        drawn.savefig(path, dpi=160, metadata=WITHOUT_DATE[path.suffix])
    return paths


def _downloads(board: FixedStepBoard, public: Public) -> dict[str, str]:
    """The board and its runs as files, without private folders."""
    data: dict[str, Any] = {"schema": SCHEMA, **public.plain(to_plain(to_json(board)))}
    return {
        "leaderboard.csv": public.text(to_csv(board)),
        "leaderboard.json": json.dumps(data, indent=1, allow_nan=False) + "\n",
        "runs.csv": public.text(as_csv(board_table(board)).decode()),
    }
