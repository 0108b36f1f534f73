"""How far one board predicts another: Kendall's tau between two orders, with floor and ceiling.

The second board is the reference. The ceiling is what a repetition of the reference reaches: the
board from some of its studies against the board from the others. The floor is what any other
workload of the reference reaches. A tau says nothing without both.

Shapes: N submissions that both boards have, W workloads (those scored, then held-out variants),
B scored ones, K studies, R resamples, M splits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from scoring.board_orders import SCORE, Board, Separation, cut_board, separations, times_board
from scoring.kendall import NONE, Floats, Spread, spread, tau
from scoring.names import counted, known_names
from scoring.reading.results import Results
from scoring.records import RecordError, Status, UserError
from scoring.uncertainty import LEVEL, resampled_medians, study_draws

RESAMPLES = 2_000
MOST_SPLITS = 1_000
MINI = "_mini"
Integers = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of two orders of the same submissions.

    Attributes:
        first: What the first board is ordered by: "score" or a workload.
        second: What the reference is ordered by.
        tau: Kendall's tau-b: 1 for the same order, -1 for the reverse, NaN if one has no order.
        low: Lower end of its 95% interval over submissions and studies drawn with replacement.
        high: Upper end.
        p: The share of random orders that agree at least as well.
        floor: Tau between workloads of the reference; for a workload, between it and the others.
        ceiling: Tau between halves of the reference's studies; NaN with a single study.
    """

    first: str
    second: str
    tau: float
    low: float
    high: float
    p: float
    floor: Spread
    ceiling: Spread

    @property
    def alike(self) -> float:
        """The share of pairs ordered alike, without ties (Magnusson et al. 2025, DataDecide)."""
        return (self.tau + 1) / 2


@dataclass(frozen=True, slots=True)
class Agreements:
    """Everything that two boards say about each other.

    Attributes:
        submissions: The names of both boards, of which only those that both have are compared.
        left_out: Submissions that both boards have and that are not compared, with the reason.
        fraction: The share of the budget after which the first board was cut; 1 for none.
        split: Whether both are the same results, so that their studies were split between them.
        rows: The agreement of the scores, then of each workload that both boards have.
        halves: Tau between scores over one half of the reference's workloads and the other.
        noise: Signal and noise of each scored workload of both boards.
        remarks: A line for everything else that a reader must know.
    """

    submissions: dict[str, str]
    left_out: dict[str, str]
    fraction: float
    split: bool
    rows: list[Agreement]
    halves: Spread
    noise: list[Separation]
    remarks: list[str]


def agreement(
    first: Results,
    reference: Results,
    aliases: Mapping[str, str] | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Agreements:
    """Compares the orders of two boards over the submissions that both have.

    Scores are computed again among the submissions compared. Submissions that score 0 on the
    reference are left out: they are last on every workload, which looks like agreement. If both
    boards are the same folders, the first one has half of the studies and the reference the others,
    in all possible ways, so that no run is compared with itself; tau is then a mean.

    Args:
        first: The board that is judged, such as a cheap one.
        reference: The board that it should predict.
        aliases: Names of the reference by those of the first board, where they differ.
        fraction: The share of the budget at which runs of the first board are cut: they are then
            ordered by the best metric so far, and over workloads by the mean of their ranks.
        seed: Seed of the resamples.
        resamples: Number of resamples and of random orders.

    Raises:
        UserError: An alias names a submission that its board does not have.
        RecordError: Fewer than three submissions are left, or a pruned trial stopped before the
            fraction of its budget.
    """
    pairs, left_out = _matched(first, reference, aliases or {})
    names, others = list(pairs), list(pairs.values())
    ours, theirs = times_board(first, names), times_board(reference, others)
    noise = [*separations("first", ours), *separations("reference", theirs)]
    if fraction < 1:
        ours = cut_board(first, names, fraction)
    trees = [{s.folder.resolve() for s in r.submissions.values()} for r in (first, reference)]
    split = bool(trees[0] & trees[1])
    if split and min(ours.studies, theirs.studies) < 2:
        raise RecordError("both boards are the same runs, and there is one study: none are left")
    draws = _Draws(len(names), seed, resamples)
    named = {name: name.removesuffix(MINI) for name in first.scope.scored}
    known = [pair for pair in named.items() if pair[1] in reference.scope.scored]
    rows = [_row(ours, theirs, by, split, draws) for by in ((SCORE, SCORE), *known)]
    remarks = [*_pruned("first board", first), *_pruned("reference", reference)]
    return Agreements(
        pairs, left_out, fraction, split, rows, _halves(theirs, draws), noise, remarks
    )


def _matched(
    first: Results, reference: Results, aliases: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The names of the submissions compared on both boards, and those left out with reasons."""
    for name, known in [(n, first) for n in aliases] + [(n, reference) for n in aliases.values()]:
        if name not in known.submissions:
            hint = known_names(name, list(known.submissions))
            raise UserError(f"--alias: no submission {name!r} on its board. {hint}")
    pairs = {name: aliases.get(name, name) for name in first.submissions}
    pairs = {name: other for name, other in pairs.items() if other in reference.submissions}
    if len(set(pairs.values())) < len(pairs):
        raise UserError("--alias: two submissions of the first board have the same alias")
    everyone = list(reference.submissions)
    board = times_board(reference, everyone)
    score = -board.order(SCORE, board.of(range(board.studies)))
    left_out = {
        name: "scores 0 on the reference"
        for name, other in pairs.items()
        if score[everyone.index(other)] == 0
    }
    pairs = {name: other for name, other in pairs.items() if name not in left_out}
    if len(pairs) < 3:
        raise RecordError(
            f"the boards have {len(pairs)} submissions in common that score above 0 on the "
            "reference, and an order needs at least 3; if names differ, pass --alias FIRST=SECOND"
        )
    return pairs, left_out


def _pruned(board: str, results: Results) -> list[str]:
    """A line if trials of a board were pruned."""
    count = sum(trial.status == Status.PRUNED for trial in results.trials)
    if not count:
        return []
    return [
        f"pruned: {counted(count, 'trial')} of the {board}, which count as misses, and these tie; "
        "so orders and ceilings are coarser than without pruning"
    ]


class _Draws:
    """Random numbers for intervals and p-values, the same for every row.

    Attributes:
        columns_rn: Submissions drawn with replacement.
        orders_rn: Random orders of the submissions.
    """

    def __init__(self, count: int, seed: int, resamples: int) -> None:
        rng = np.random.default_rng(seed)
        self.seed, self.resamples = seed, resamples
        self.columns_rn = rng.integers(0, count, (resamples, count))
        self.orders_rn = rng.permuted(np.tile(np.arange(count), (resamples, 1)), axis=1)

    def subsets(self, count: int) -> list[tuple[int, ...]]:
        """All subsets of half of `count` things, or as many random ones as are allowed."""
        size = count // 2
        if math.comb(count, size) <= MOST_SPLITS:
            return list(combinations(range(count), size))
        rng = np.random.default_rng([self.seed, count])
        return [tuple(rng.permutation(count)[:size].tolist()) for _ in range(MOST_SPLITS)]

    def splits(self, count: int) -> list[tuple[Sequence[int], Sequence[int]]]:
        """Those subsets, each with the rest."""
        return [(a, [k for k in range(count) if k not in a]) for a in self.subsets(count)]

    def studies(self, board: Board) -> Floats:
        """Medians over studies drawn with replacement: (R, N, W)."""
        workloads = list(board.scope.workloads)[: board.value_nwk.shape[1]]
        draws = study_draws(workloads, board.planned_nw, self.seed, self.resamples)
        return resampled_medians(board.value_nwk, board.planned_nw, draws)


def _row(ours: Board, theirs: Board, by: tuple[str, str], split: bool, draws: _Draws) -> Agreement:
    """The agreement of one order of the first board with one of the reference."""
    if split:
        splits = draws.splits(theirs.studies)
        first_mn = np.stack([ours.order(by[0], ours.of(mine)) for mine, _ in splits])
        second_mn = np.stack([theirs.order(by[1], theirs.of(rest)) for _, rest in splits])
        turn_r = np.arange(draws.resamples) % len(splits)
        first_rn, second_rn = first_mn[turn_r], second_mn[turn_r]
    else:
        first_mn = ours.order(by[0], ours.of(range(ours.studies)))[None]
        second_mn = theirs.order(by[1], theirs.of(range(theirs.studies)))[None]
        first_rn = ours.order(by[0], draws.studies(ours))
        second_rn = theirs.order(by[1], draws.studies(theirs))
    estimate = spread(tau(first_mn, second_mn)).mean
    random_mr = np.stack(
        [
            tau(first_n[draws.orders_rn], second_n[None])
            for first_n, second_n in zip(first_mn, second_mn, strict=True)
        ]
    )
    columns = draws.columns_rn
    drawn_r = tau(
        np.take_along_axis(first_rn, columns, axis=1),
        np.take_along_axis(second_rn, columns, axis=1),
    )
    defined = drawn_r[~np.isnan(drawn_r)]
    low, high = math.nan, math.nan
    if len(defined):
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    p = math.nan
    if not math.isnan(estimate):
        random_r = np.nanmean(random_mr, axis=0)
        p = (1 + int((random_r >= estimate - 1e-12).sum())) / (1 + draws.resamples)
    return Agreement(
        *by, estimate, low, high, p, _floor(theirs, by[1]), _ceiling(theirs, by[1], draws)
    )


def _floor(reference: Board, by: str) -> Spread:
    """Tau between workloads of the reference: all pairs, or a workload and each of the others."""
    median_nw = reference.of(range(reference.studies))
    scored = range(len(reference.scope.scored))
    pairs = list(combinations(scored, 2))
    if by != SCORE:
        own = list(reference.scope.scored).index(by)
        pairs = [(own, other) for other in scored if other != own]
    return spread(np.array([tau(median_nw[:, i], median_nw[:, j]) for i, j in pairs]))


def _ceiling(reference: Board, by: str, draws: _Draws) -> Spread:
    """Tau between the reference from half of its studies and from the others."""
    if reference.studies < 2:
        return NONE
    taus = [
        tau(reference.order(by, reference.of(half)), reference.order(by, reference.of(rest)))
        for half, rest in draws.splits(reference.studies)
    ]
    return spread(np.array(taus))


def _halves(reference: Board, draws: _Draws) -> Spread:
    """Tau between scores over half of the reference's workloads and over the others."""
    credit_nb = reference.credit(reference.of(range(reference.studies)))
    if credit_nb.shape[1] < 2:
        return NONE
    taus = [
        tau(*(-credit_nb[:, list(part)].mean(axis=1).round(12) for part in parts))
        for parts in draws.splits(credit_nb.shape[1])
    ]
    return spread(np.array(taus))
