"""Writes the leaderboard as one self-contained page that makes no network requests."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markdown_it import MarkdownIt

from scoring.continuous import Continuous, continuous
from scoring.efficiency import efficiency
from scoring.hyperparameters import winners
from scoring.leaderboard import Leaderboard
from scoring.profiles import profile
from scoring.reading.info import read_info
from scoring.reading.results import Scope
from scoring.report.continuous import factor_text
from scoring.report.downloads import downloads
from scoring.report.efficiency import relaxation_svg
from scoring.report.explain import point_in_words
from scoring.report.figures import figures
from scoring.report.hashes import measurements_hash, ruleset_hash
from scoring.report.public import Public
from scoring.report.styles import COLORS, DARK_COLORS, DASHES
from scoring.report.terminal import format_number, format_odds, odds_range
from scoring.report.words import Unit, letters, plain, short_seconds, slugs, time_unit
from scoring.significance import LEVEL as SIGNIFICANCE
from scoring.significance import p_range
from scoring.views import RelaxationSweep
from scoring.writing import write_text

METHODS = {
    "rules": "scored by the written rules",
    "official": "scored as AlgoPerf's script does",
}


_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath "
    "d='M1 15V9h5V5h5V1h4' fill='none' stroke='%234174a2' stroke-width='2'/%3E%3C/svg%3E"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What a publisher adds to a page.

    Attributes:
        title: The heading; "" for "Leaderboard: RULESET".
        intro: Markdown to show below the heading, without HTML and pictures.
        command: The command that made the page, as readers could call it.
        stylesheet: The address of a stylesheet to use in place of the one inside the page.
        links: Addresses of related pages, by name.
        submissions: The address of each submission's own page, by name.
        status: The address of the status of a sweep that the page follows; "" for none.
        version: The version of the board; the page reloads when the status has another.
    """

    title: str = ""
    intro: str = ""
    command: str = ""
    stylesheet: str = ""
    links: dict[str, str] = field(default_factory=dict)
    submissions: dict[str, str] = field(default_factory=dict)
    status: str = ""
    version: str = ""


def write_html(
    board: Leaderboard,
    path: Path,
    about: About | None = None,
    sweep: RelaxationSweep | None = None,
    beside: Continuous | None = None,
) -> None:
    """Writes the leaderboard's page under another name, then renames it to `path`.

    Names and messages of logs are escaped wherever they are; folders and machines of the publisher
    are not shown.

    Args:
        board: The leaderboard.
        path: The file to write.
        about: What the publisher adds.
        sweep: Ranks over relaxed targets, if requested.
        beside: Scores beside the target; None to compute them over the ruleset's baseline.
    """
    write_text(path, render(board, about or About(), sweep, beside))


def render(
    board: Leaderboard,
    about: About,
    sweep: RelaxationSweep | None = None,
    beside: Continuous | None = None,
) -> str:
    """Renders the page."""
    results, scope = board.results, board.results.scope
    public = Public.of(results)
    names = sorted(results.submissions)
    beside = beside or continuous(results)
    styles: dict[str, dict[str, Any]] = {
        "color": {name: place % len(COLORS) for place, name in enumerate(names)},
        "dashes": {name: dashes(place) for place, name in enumerate(names)},
        "slug": slugs({name: public.text(name) for name in names}),
        "place": slugs({name: name for name in scope.workloads}),
        "group": {name: f"submission-{place}" for place, name in enumerate(names)},
    }
    fastest = dict(zip(scope.workloads, board.stages.best.tolist(), strict=True))
    won = winners(board)
    drawn = figures(board, won)
    page = _environment(public).get_template("page.html.j2").render(
        about=about,
        title=about.title or f"Leaderboard: {scope.ruleset.name}",
        intro=markdown(about.intro),
        made=made(),
        version=chronograd_version(),
        method=METHODS.get(board.method.name, board.method.name),
        board=board,
        results=results,
        scope=scope,
        page=styles,
        isfinite=math.isfinite,
        fastest=fastest,
        unit={name: _unit(scope, seconds) for name, seconds in fastest.items()},
        spent=efficiency(results),
        tested={
            (name, other): test.seen_from(name)
            for test in board.pairs
            for name, other in (test.names, test.names[::-1])
        },
        level=f"{SIGNIFICANCE:g}",
        odds_range=odds_range,
        p_range=p_range,
        beside=beside,
        relaxation=sweep and relaxation_svg(board, sweep),
        refused=list(sweep.refused.values()) if sweep else [],
        notes=_notes(board),
        outcomes=sorted({key for standing in board.standings for key in standing.trials}),
        failed=[trial for trial in results.trials if trial.failure],
        profiles=drawn.profiles,
        curves=drawn.curves,
        slices=drawn.slices,
        won=won,
        shows_hyperparameters=any(best.point for best in won.values()) or bool(drawn.slices),
        infos={name: read_info(source) for name, source in results.submissions.items()},
        hashes={"ruleset": ruleset_hash(results), "measurements": measurements_hash(results)},
        data={
            "geometry": {**drawn.geometry, "r_max": scope.ruleset.r_max, "lines": _lines(board)},
            "slugs": {styles["group"][name]: styles["slug"][name] for name in names},
            "files": downloads(board, public, beside),
        },
        **stylesheet_parts(),
    )  # fmt: skip
    return public.folders(page)


def render_small(board: Leaderboard) -> str:
    """Renders the board as one HTML table, for a notebook."""
    scope = board.results.scope
    fastest = dict(zip(scope.workloads, board.stages.best.tolist(), strict=True))
    return _environment(Public.of(board.results)).get_template("small.html.j2").render(
        board=board,
        scope=scope,
        method=METHODS.get(board.method.name, board.method.name),
        unit={name: _unit(scope, seconds) for name, seconds in fastest.items()},
        isfinite=math.isfinite,
    )  # fmt: skip


def _unit(scope: Scope, fastest: float) -> Unit:
    """The unit in which a workload's times are shown."""
    return (1.0, "steps") if scope.by == "steps" else time_unit(fastest, scope.clock)


def stylesheet_parts() -> dict[str, Any]:
    """The colours that page.css needs."""
    return {"light": COLORS, "dark": DARK_COLORS, "icon": _ICON}


def environment() -> jinja2.Environment:
    """The environment of the templates; it escapes all names and messages."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(number=format_number, plain=plain)
    return found


def _environment(public: Public) -> jinja2.Environment:
    found = environment()
    found.filters.update(
        odds=format_odds, short=short_seconds, public=public.text, point=point_in_words,
        machine=public.environment, factor=factor_text,
    )  # fmt: skip
    return found


def markdown(text: str) -> str:
    """Converts Markdown to HTML; HTML in it is escaped, and pictures are left out."""
    return str(
        MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(text)
    )


def made() -> str:
    """Today's date (UTC), or that of SOURCE_DATE_EPOCH for reproducible builds."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    return now.date().isoformat()


def chronograd_version() -> str:
    """The version of this package; "" if it is not installed."""
    try:
        return version("chronograd")
    except PackageNotFoundError:
        return ""


def dashes(place: int) -> str:
    """The dash pattern of a submission's swatch, whose line is 3 units thick."""
    return " ".join(f"{3 * length:g}" for length in DASHES[place % len(DASHES)]) or "none"


def _notes(board: Leaderboard) -> dict[str, str]:
    """A letter for each reason why times do not count, in the order of the table."""
    reasons = [
        cell.reason
        for standing in board.standings
        for cell in standing.cells.values()
        if cell.reason
    ]
    return {reason: letters(number) for number, reason in enumerate(dict.fromkeys(reasons))}


def _lines(board: Leaderboard) -> dict[str, list[list[float]]]:
    """The corners of every submission's profile, by its group."""
    scope, names = board.results.scope, sorted(board.results.submissions)
    lines = {}
    for standing in board.standings:
        ratios_b = np.array([standing.cells[name].ratio for name in scope.scored])
        tau, rho = profile(ratios_b, scope.ruleset.r_max)
        lines[f"submission-{names.index(standing.name)}"] = [tau.tolist(), rho.tolist()]
    return lines
