"""What readers of a board at a fixed step must know: refusals, differences, assumptions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scoring.loss_tests import LossTests, Result
from scoring.noise import Noise
from scoring.reading.loss_curves import Published
from scoring.reading.runs import Runs

_ROUNDED = 1e-4  # of a published mean loss


def refused(results: Sequence[Result]) -> list[str]:
    """A line for each entry that is not tested."""
    return [f"{result.name}: not tested: {result.refused}" for result in results if result.refused]


def unfinished(results: Sequence[Result]) -> list[str]:
    """A line for each run without the final evaluation that other runs of its entry have."""
    return [
        f"{run.file}:{run.lines[-1]}: {result.name}, {run.name}: ends at step {run.last:,} of "
        f"{run.planned:,}, without a final evaluation"
        for result in results
        for run in result.entry.runs
        if run.planned is not None and run.last < run.planned
        if run.last < max(other.last for other in result.entry.runs)
    ]


def differences(results: Sequence[Result], published: Mapping[str, Published]) -> dict[str, str]:
    """How each published result differs from the runs; "" if it does not."""
    by_name = {result.name: result for result in results}
    return {name: _difference(by_name.get(name), row) for name, row in published.items()}


def _difference(result: Result | None, row: Published) -> str:
    if result is None:
        return "no runs of it were read"
    parts = []
    count = len(result.losses) or len(result.entry.runs)
    if row.runs is not None and row.runs != count:
        parts.append(f"{count} run{'s' * (count != 1)}, {row.runs} published")
    if result.refused:
        parts.append(result.refused)
    elif row.mean_loss is not None and not abs(result.mean - row.mean_loss) <= _ROUNDED:
        parts.append(f"mean loss {result.mean:.5f}, {row.mean_loss:g} published")
    return "; ".join(parts)


def remarks(
    runs: Runs, results: Sequence[Result], tester: LossTests, found: Noise | None, published: bool
) -> list[str]:
    """What readers of the tests must know."""
    lines = []
    rules, noise = runs.rules, tester.noise
    if noise.df is not None:
        lines.append(
            f"sigma {noise.sigma:.5f} is pooled from the runs of this board ({noise.df} degrees of "
            "freedom): tests use Student's t, and assume that all entries vary alike over seeds"
        )
    elif found is not None:
        lines.append(
            f"the ruleset's sigma is {noise.sigma:g}; pooled from the runs of this board it is "
            f"{found.sigma:.5f} ({found.df} degrees of freedom)"
        )
    if rules.sigma is not None and found is not None and found.exceeds(rules.sigma, rules.p):
        lines.append(
            "the runs of this board vary more than the ruleset's sigma says, so that its tests are "
            "too favourable here; a ruleset without sigma pools it from the runs"
        )
    if not runs.is_scored:
        lines.append(
            f"{runs.ruleset.name} is made for {', '.join(runs.ruleset.scored)}: its sigma and "
            f"threshold are not used for {runs.workload}, and what 100 steps are worth may differ"
        )
    exact = noise.critical(rules.p) * noise.sigma
    if rules.threshold is not None and rules.threshold < exact:
        lines.append(
            f"the threshold {rules.threshold:g} is rounded: p < {rules.p:g} needs {exact:.5f}"
        )
    if not published and any(r.valid_from not in (None, r.steps) for r in results):
        lines.append(
            "an entry is tested at the step at which its runs stopped; `valid from` is a smaller "
            "step found by looking at all evaluations, and is too favourable for that reason"
        )
    diverged = [r.name for r in results if r.test is not None and not math.isfinite(r.mean)]
    if diverged:
        lines.append(f"a run diverged, so that the mean is infinite: {', '.join(diverged)}")
    return lines
