"""Builds the site: a page per board and per submission, histories, data, one stylesheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.hyperparameters import Winner, winners
from scoring.leaderboard import Leaderboard, Standing, make_leaderboard
from scoring.reading.fixed_step import fixed_step_ruleset
from scoring.reading.info import read_info
from scoring.reading.read import read
from scoring.records import RecordError, UserError
from scoring.reference import Reference, load_reference, save_reference
from scoring.report.downloads import downloads
from scoring.report.explain import point_in_words
from scoring.report.page import (
    About,
    chronograd_version,
    environment,
    made,
    markdown,
    render,
    stylesheet_parts,
)
from scoring.report.public import Public
from scoring.report.words import slugs
from scoring.site.boards import BoardPlan, SitePlan, rules_of, text_of
from scoring.site.history import HISTORY_FILE, extend, moves
from scoring.times import METHODS
from scoring.writing import write_text

STYLESHEET = "style.css"
REFERENCE_FILE = "reference.json"  # the best times of the first version


@dataclass(frozen=True, slots=True)
class _Built:
    """A board, scored."""

    plan: BoardPlan
    board: Leaderboard
    versions: list[dict[str, Any]]
    unfrozen: str  # why there is no score against a frozen reference; "" if there is one
    won: dict[tuple[str, str], Winner]

    @property
    def title(self) -> str:
        return self.plan.title or self.plan.name


@dataclass(frozen=True, slots=True)
class _Entry:
    """A submission's place on one board."""

    built: _Built
    standing: Standing
    name: str  # on the board

    @property
    def trials(self) -> list[Any]:
        return [t for t in self.built.board.results.trials if t.submission == self.name]


def build(plan: SitePlan, out: Path, say: Callable[[str], None]) -> None:
    """Writes the site into `out`, continuing the histories of earlier builds.

    Args:
        plan: From `scoring.site.boards.read_plan`.
        out: The folder; other files in it are kept.
        say: Called with a line for each board that is built or left out.

    Raises:
        UserError: A board cannot be scored, or none can be built.
    """
    built = []
    for board in plan.boards:
        missing = [str(folder) for folder in board.results if not folder.is_dir()]
        if missing and board.optional:
            say(f"{board.name}: left out: no folder {', '.join(missing)}")
            continue
        built.append(_scored(board, out / "boards" / board.name))
        say(f"{board.name}: {len(built[-1].board.standings)} submissions")
    if not built:
        raise UserError("no board can be built: all results are missing")
    entries = _entries(built)
    address = slugs({name: name for name in entries})
    style = environment().get_template("page.css.j2").render(**stylesheet_parts())
    write_text(out / STYLESHEET, style + "\n")
    for one in built:
        _write_board(one, out, address)
    for name, places in entries.items():
        text = _page(
            "submission",
            depth=2,
            name=name,
            entries=places,
            info=read_info(places[0].standing.source),
        )
        write_text(out / "submissions" / address[name] / "index.html", text)
    intro = markdown(text_of(plan.intro))
    index = _page("index", title=plan.title, intro=intro, boards=built, submissions=address)
    write_text(out / "index.html", index)


def _scored(plan: BoardPlan, folder: Path) -> _Built:
    """Scores a board, also against its first version if pruned trials allow that."""
    if (fixed := fixed_step_ruleset(plan.results, rules_of(plan))) is not None:
        raise UserError(
            f"{plan.name}: ruleset {fixed.name} compares losses at a fixed step, which a site does "
            "not show; write its page with chronograd score --html"
        )
    results = read(plan.results, rules_of(plan), plan.tuning, plan.suite)
    method = METHODS[plan.method]
    frozen, unfrozen = _reference(folder), ""
    if frozen is not None:
        try:
            board = make_leaderboard(results, method, frozen)
        except RecordError as error:
            frozen, unfrozen = None, str(error)
    if frozen is None:
        board = make_leaderboard(results, method)
        if not unfrozen:
            try:  # the first version is the reference of later ones
                save_reference(folder / REFERENCE_FILE, board.stages, results.scope, method)
                board = make_leaderboard(results, method, _reference(folder))
            except RecordError as error:
                (folder / REFERENCE_FILE).unlink()
                unfrozen = str(error)
    versions = extend(folder / HISTORY_FILE, board, made())
    return _Built(plan, board, versions, Public.of(results).text(unfrozen), winners(board))


def _reference(folder: Path) -> Reference | None:
    file = folder / REFERENCE_FILE
    return load_reference(file) if file.exists() else None


def _entries(built: list[_Built]) -> dict[str, list[_Entry]]:
    """Every submission's entries by public name, in alphabetical order."""
    entries: dict[str, list[_Entry]] = {}
    for one in built:
        public = Public.of(one.board.results)
        for standing in one.board.standings:
            entry = _Entry(one, standing, standing.name)
            entries.setdefault(public.text(standing.name), []).append(entry)
    return dict(sorted(entries.items()))


def _write_board(one: _Built, out: Path, address: dict[str, str]) -> None:
    """Writes a board's page, its history and its data."""
    folder, public = out / "boards" / one.plan.name, Public.of(one.board.results)
    about = About(
        title=one.title,
        intro=text_of(one.plan.intro),
        stylesheet=f"../../{STYLESHEET}",
        links={"All leaderboards": "../../index.html", "History": "history.html"},
        submissions={
            s.name: f"../../submissions/{address[public.text(s.name)]}/index.html"
            for s in one.board.standings
        },
    )
    write_text(folder / "index.html", render(one.board, about))
    for name, text in downloads(one.board, public).items():
        write_text(folder / name, text)
    changes = [
        (after, moves(before, after) if before else [])
        for before, after in zip([None, *one.versions], one.versions, strict=False)
    ]
    history = _page("history", depth=2, built=one, changes=changes[::-1])
    write_text(folder / "history.html", history)


def _page(template: str, depth: int = 0, **content: Any) -> str:
    """Renders a page of the site that is not a board."""
    found = environment()
    found.filters.update(point=point_in_words)
    return found.get_template(f"site/{template}.html.j2").render(
        root="../" * depth,
        made=made(),
        version=chronograd_version(),
        stylesheet=STYLESHEET,
        icon=stylesheet_parts()["icon"],
        **content,
    )
