"""The leaderboard, a comparison and an explanation as shown in the terminal."""

from __future__ import annotations

import math

from rich.text import Text
from rich.tree import Tree

from scoring.cells import Cell
from scoring.compare import Comparison
from scoring.escaping import one_line
from scoring.leaderboard import Leaderboard, Standing
from scoring.report.explain import Reason
from scoring.report.fitted import Column, FittedTable
from scoring.speedup import Speedup


def format_number(value: float) -> str:
    """About three digits: 1,234, 56.7, 8.90, 0.0123; the infinity sign for a miss."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        digits = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def standings_table(board: Leaderboard, speedups: dict[str, Speedup] | None = None) -> FittedTable:
    """Ranks and scores, with intervals if studies were repeated, and hours.

    P(rank) is the probability of the rank shown; the time ratios are those of `speedups`.
    """
    scope, is_open = board.results.scope, board.uncertainty.is_open
    table = FittedTable(
        [Column("rank", right=True, spare=1), Column("submission"), Column("score", right=True)],
        title=", ".join(
            filter(
                None,
                [
                    scope.ruleset.name,
                    f"{scope.tuning} tuning",
                    f"method {board.method.name}",
                    scope.asked,
                ],
            )
        ),
    )
    spare = {}
    if board.repeated:
        spare = {"95% interval": 2, **({"sampling alone": 6} if is_open else {}), "P(rank)": 3}
        resampled = board.uncertainty.resampled
        table.caption = f"P(rank): the share of boards resampled from {resampled} with this rank"
    spare |= {"frozen": 2} if board.reference is not None else {}
    spare |= {"time ratio": 4, "official": 5} if speedups is not None else {}
    table.columns += [Column(name, right=True, spare=n) for name, n in spare.items()]
    table.columns.append(Column("hours", right=True, spare=4))
    for standing in board.standings:
        cells = [f"{standing.score:.4f}"]
        if board.repeated:
            cells.append(_interval(standing.low, standing.high))
            cells += [_interval(*standing.sampling)] * is_open
            cells.append(format_odds(standing, standing.rank))
        if standing.reference_score is not None:
            cells.append(f"{standing.reference_score:.4f}")
        if speedups is not None:
            faster = speedups[standing.name]
            cells += [_ratio(faster.ratio), _ratio(faster.official)]
        table.add_row(str(standing.rank), standing.name, *cells, format_number(standing.hours))
    return table


def format_odds(standing: Standing, rank: int) -> str:
    """The probability of a rank; a range if pruned trials leave it open."""
    place = rank - 1
    return odds_range(standing.ranks[place], standing.ranks_low[place], standing.ranks_high[place])


def odds_range(odds: float, low: float, high: float) -> str:
    """A probability in percent, or its range if pruned trials leave it open."""
    if _percent(low) == _percent(high):
        return _percent(odds)
    return f"{100 * low:.0f}–{_percent(high)}"


def format_seconds(cell: Cell) -> str:
    """A time to target, or the lower bound of a pruned one."""
    return f"> {format_number(cell.at_least)}" if cell.pruned else format_number(cell.seconds)


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def times_table(board: Leaderboard) -> FittedTable:
    """The median seconds to target of each scored workload, the fastest in bold."""
    scope = board.results.scope
    unit = f"{scope.by} to target"
    if scope.clock == "steps" and scope.by == "seconds":
        unit = f"seconds on the step clock, which charges {board.results.charged}"
    pruned = any(s.cells[w].pruned for s in board.standings for w in scope.scored)
    stopped = "> stopped early, since it could no longer count; " if pruned else ""
    table = FittedTable(
        [Column("submission"), *(Column(workload, right=True) for workload in scope.scored)],
        turnable=True,
        caption=(
            f"{unit}, median over {scope.repeats}; * fastest; ∞ missed; {stopped}† does not count "
            f"(over {scope.ruleset.r_max:g} times the fastest, or held-out variant); n/k studies "
            "that reached the target"
        ),
    )
    for standing in board.standings:
        table.add_row(standing.name, *(_time(standing.cells[name]) for name in scope.scored))
    return table


def _time(cell: Cell) -> Text:
    """The time, a mark if fastest or not counting, and the studies unless all reached."""
    mark = "*" if cell.ratio == 1 else "†" if cell.reason and math.isfinite(cell.seconds) else ""
    reached = "" if cell.reached == cell.studies else f" {cell.reached}/{cell.studies}"
    return Text(format_seconds(cell) + mark + reached, style="bold" if mark == "*" else "")


def comparison_table(comparison: Comparison) -> FittedTable:
    """A comparison of two submissions, workload by workload."""
    first, second = comparison.names
    columns = [Column("workload"), Column(first, right=True), Column(second, right=True)]
    for name, spare in (("difference", 1), ("95% interval", 2), ("P(faster)", 1)):
        columns.append(Column(name, right=True, spare=spare))
    table = FittedTable(
        columns,
        title=f"{first} against {second}, paired by study",
        caption=(
            f"seconds to target; a negative difference: {first} is faster; P from resampled studies"
        ),
    )
    for row in comparison.workloads:
        interval = f"{format_number(row.low)} to {format_number(row.high)}"
        seconds = [format_number(value) for value in (*row.seconds, row.difference)]
        odds = odds_range(row.faster, row.faster_low, row.faster_high)
        table.add_row(row.workload, *seconds, interval, odds)
    a, b = comparison.scores
    odds = odds_range(comparison.above, comparison.above_low, comparison.above_high)
    table.add_row("score", f"{a:.4f}", f"{b:.4f}", f"{a - b:+.4f}", "", odds, style="bold")
    return table


def _percent(odds: float) -> str:
    return "?" if math.isnan(odds) else f"{100 * odds:.0f}%"


def reason_tree(reason: Reason) -> Tree:
    """An explanation as a tree."""
    tree = Tree(Text(one_line(reason.text)), guide_style="dim")
    for child in reason.because:
        tree.add(reason_tree(child))
    if reason.against:
        tests = tree.add(
            Text("against the others (sign-flip test, p after Holm's correction over all pairs)")
        )
        for child in reason.against:
            tests.add(reason_tree(child))
    return tree
