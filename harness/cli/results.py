"""The commands that read results: score, explain and compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.files import (
    finish,
    read_introduction,
    save_html,
    save_parquet,
    save_plots,
    write_files,
)
from harness.cli.fixed_step import (
    Outputs,
    compare_runs,
    explain_runs,
    fixed_step_board,
    refuse_for_runs,
    score_runs,
)
from harness.cli.options import JsonOption, console, print_json, say
from harness.cli.output import uncut
from harness.cli.result_options import (
    BootstrapSeedOption,
    CsvOption,
    CurvesOption,
    DirectoriesArgument,
    DirectoryArgument,
    HtmlOption,
    IntroOption,
    JsonFileOption,
    MarkdownOption,
    Method,
    MethodOption,
    ParquetOption,
    PlotsOption,
    PublishedOption,
    ReferenceOption,
    Resample,
    ResampleOption,
    RulesOption,
    SaveReferenceOption,
    SpeedupOption,
    StrictOption,
    SuiteOption,
    TitleOption,
    TreeTuningOption,
    VerifyOption,
)
from harness.cli.verify import evaluate_deciding
from harness.cli.views import (
    By,
    ByOption,
    RelaxOption,
    RelaxSweepOption,
    StepTimesOption,
    refuse_beside_view,
    view,
)
from scoring.records import Tuning

if TYPE_CHECKING:
    from scoring.leaderboard import Leaderboard
    from scoring.reading.results import Results


def score(
    directories: DirectoriesArgument = None,
    ruleset: RulesOption = None,
    tuning: TreeTuningOption = None,
    suite: SuiteOption = None,
    method: MethodOption = Method.RULES,
    resample: ResampleOption = Resample.STUDIES,
    seed: BootstrapSeedOption = 0,
    strict: StrictOption = False,
    verify: VerifyOption = False,
    relax: RelaxOption = None,
    relax_sweep: RelaxSweepOption = None,
    by: ByOption = By.SECONDS,
    step_times: StepTimesOption = False,
    speedup: SpeedupOption = None,
    reference: ReferenceOption = None,
    save_reference: SaveReferenceOption = None,
    json_file: JsonFileOption = None,
    csv_file: CsvOption = None,
    markdown: MarkdownOption = None,
    parquet: ParquetOption = None,
    html: HtmlOption = None,
    plots: PlotsOption = None,
    curves: CurvesOption = None,
    published: PublishedOption = None,
    title: TitleOption = "",
    intro: IntroOption = None,
) -> None:
    """Scores results: times to target, performance profiles, and a leaderboard with uncertainty.

    Examples:
      chronograd score results/demo --html results/demo/leaderboard.html
      chronograd score LOGS --ruleset algoperf-0.5 --method official
    """
    from scoring import reference as references
    from scoring.continuous import continuous
    from scoring.efficiency import efficiency
    from scoring.leaderboard import make_leaderboard
    from scoring.plain import write_json
    from scoring.report.complete import to_complete_json
    from scoring.report.continuous import curve_speedups_table
    from scoring.report.efficiency import relaxation_table, step_times_table
    from scoring.report.tables import to_csv, to_markdown
    from scoring.report.terminal import standings_table, times_table
    from scoring.speedup import speedups
    from scoring.times import METHODS
    from scoring.writing import write_text

    introduction, directories = read_introduction(intro), directories or []
    tested = fixed_step_board(directories, ruleset, tuning, curves, published)
    if tested is not None:
        times = (suite, verify, relax, relax_sweep, step_times, speedup, reference, save_reference)
        refuse_for_runs(tested, *times, method is Method.OFFICIAL)
        files = (json_file, csv_file, markdown, parquet, html, plots)
        score_runs(tested, Outputs(*files, title, introduction), strict=strict)
        return
    results = read_results(directories, ruleset, tuning, suite)
    if verify:
        evaluate_deciding(results)
        results = read_results(directories, ruleset, tuning, suite)
    if strict:
        _refuse_findings(results)
    refuse_beside_view(relax, by, method is Method.OFFICIAL, (speedup, reference, save_reference))
    shown, sweep = view(results, relax, relax_sweep, by, METHODS[method])
    frozen = None if reference is None else references.load_reference(reference)
    board = make_leaderboard(shown, METHODS[method], frozen, resample, seed)
    faster = None if speedup is None else speedups(results, board.method, speedup)
    scope = results.scope
    beside = cache(lambda: continuous(results, speedup))  # reads all evaluations
    writers: list[tuple[Path | None, Callable[[Path], Any]]] = [
        (save_reference, lambda p: references.save_reference(p, board.stages, scope, board.method)),
        (json_file, lambda p: write_json(p, to_complete_json(board, faster, sweep, beside()))),
        (csv_file, lambda path: write_text(path, to_csv(board))),
        (markdown, lambda path: write_text(path, to_markdown(board))),
        (parquet, lambda path: save_parquet(board, path)),
        (html, lambda path: save_html(board, path, title, introduction, sweep, beside())),
        (plots, lambda path: save_plots(board, path, sweep)),
    ]
    unwritten = write_files(writers)  # before the tables, which the terminal may fail to show
    console.print(standings_table(board, faster))
    console.print(times_table(board))
    if speedup is not None:
        console.print(curve_speedups_table(board, beside()))
    if sweep is not None:
        console.print(relaxation_table(board, sweep))
    if step_times:
        console.print(step_times_table(board, efficiency(results)))
    _say_remarks(board)
    finish(unwritten, board.warnings, strict=strict)


def explain(
    directory: DirectoryArgument,
    submission: Annotated[str, typer.Argument(help="a submission, as named on the leaderboard")],
    workload: Annotated[str | None, typer.Argument(help="only this workload")] = None,
    ruleset: RulesOption = None,
    tuning: TreeTuningOption = None,
    suite: SuiteOption = None,
    method: MethodOption = Method.RULES,
    published: PublishedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explains a score: traces it to the evaluations that it comes from, with file and line.

    Example: chronograd explain results/demo nadamw digits
    """
    from scoring.leaderboard import make_leaderboard
    from scoring.report.explain import explain as explained
    from scoring.report.terminal import reason_tree
    from scoring.times import METHODS

    tested = fixed_step_board([directory], ruleset, tuning, published=published)
    if tested is not None:
        reason = explain_runs(tested, submission)
    else:
        results = read_results([directory], ruleset, tuning, suite)
        board = make_leaderboard(results, METHODS[method])
        reason = explained(board, submission, workload)
    if as_json:
        print_json(reason.to_plain())
        return
    with uncut(console):
        console.print(reason_tree(reason))


def compare(
    directory: DirectoryArgument,
    first: Annotated[str, typer.Argument(metavar="A", help="a submission")],
    second: Annotated[str, typer.Argument(metavar="B", help="another submission")],
    ruleset: RulesOption = None,
    tuning: TreeTuningOption = None,
    suite: SuiteOption = None,
    method: MethodOption = Method.RULES,
    seed: BootstrapSeedOption = 0,
    published: PublishedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compares two submissions by workload: differences paired by study, and probabilities.

    Example: chronograd compare results/demo nadamw adamw
    """
    from scoring.compare import compare as compared
    from scoring.plain import to_plain
    from scoring.report.terminal import comparison_table
    from scoring.times import METHODS

    tested = fixed_step_board([directory], ruleset, tuning, published=published)
    if tested is not None:
        compare_runs(tested, first, second, as_json=as_json)
        return
    results = read_results([directory], ruleset, tuning, suite)
    for warning in results.warnings:
        say(f"warning: {warning}", style="yellow")
    comparison = compared(results, first, second, METHODS[method], seed)
    if as_json:
        print_json(to_plain(comparison))
        return
    console.print(comparison_table(comparison))
    say(
        f"Over {comparison.test.pairs} pairs of times (sign-flip test, p after Holm's correction "
        f"over all pairs of submissions): {comparison.test.in_words}"
    )


def read_results(
    directories: list[Path], ruleset: str | None, tuning: Tuning | None, suite: str | None
) -> Results:
    """Reads the results that the options of a command select."""
    from scoring import rulesets
    from scoring.reading.read import read

    rules = None if ruleset is None else rulesets.load(ruleset)
    return read(directories, rules, tuning, suite)


def _refuse_findings(results: Results) -> None:
    """Ends the command if there are integrity findings."""
    if results.findings:
        _say_findings(results)
        say("--strict: nothing is ranked; docs/integrity.md explains the findings", style="red")
        raise typer.Exit(1)


def _say_findings(results: Results) -> None:
    """Prints the integrity findings."""
    for finding in results.findings:
        say(f"integrity: {finding}", style="red")


def _say_remarks(board: Leaderboard) -> None:
    """Prints findings, warnings and notes, which the tables do not show."""
    from scoring.remarks import difference_lines

    _say_findings(board.results)
    for warning in board.warnings:
        say(f"warning: {warning}", style="yellow")
    for remark in board.remarks:
        say(f"note: {remark}")
    for line in difference_lines(board.differences):
        say(line)
