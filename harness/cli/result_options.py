"""Options of the commands that read results: score, explain, compare and replay."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scoring.records import Tuning


class Method(StrEnum):
    """How scores are computed."""

    RULES = "rules"
    OFFICIAL = "official"


class Resample(StrEnum):
    """What the bootstrap resamples."""

    STUDIES = "studies"
    WORKLOADS = "workloads"


DirectoriesArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="DIR...", help="results trees, or logs of AlgoPerf or modded-nanogpt's track 3"
    ),
]
DirectoryArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="a results tree, or logs of AlgoPerf or modded-nanogpt's track 3"
    ),
]
RulesOption = Annotated[
    str | None,
    typer.Option(
        "--ruleset",
        help="default: the recorded one; required for logs: algoperf-0.5, a TOML file, ...",
    ),
]
TreeTuningOption = Annotated[
    Tuning | None,
    typer.Option(
        "--tuning", help="default: the recorded one, or from the names of the logs' folders"
    ),
]
SuiteOption = Annotated[
    str | None, typer.Option(help="score this suite of the ruleset, such as qualification")
]
MethodOption = Annotated[
    Method, typer.Option(help="rules: AlgoPerf's written rules; official: what its script computes")
]
ResampleOption = Annotated[
    Resample, typer.Option(help="what is resampled for the intervals; workloads: both")
]
BootstrapSeedOption = Annotated[int, typer.Option(min=0, help="seed of the resamples")]
StrictOption = Annotated[
    bool,
    typer.Option(help="exit with 1 if results are incomplete or have integrity findings"),
]
VerifyOption = Annotated[
    bool, typer.Option(help="evaluate the weights of the deciding trials again")
]
SpeedupOption = Annotated[
    str | None, typer.Option(metavar="SUBMISSION", help="show mean time ratios to this submission")
]
ReferenceOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="also score against these best times")
]
SaveReferenceOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="save the best times, for --reference")
]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="write all results as JSON")
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="write the leaderboard as CSV")
]
MarkdownOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="write the leaderboard as Markdown")
]
ParquetOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="write all trials and evaluations as Parquet")
]
HtmlOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="write a self-contained HTML page")
]
PlotsOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="write the figures as PNG and PDF")
]
TitleOption = Annotated[str, typer.Option(help="title of the page; default: Leaderboard: RULESET")]
IntroOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Markdown file with the introduction of the page"),
]
CurvesOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="board at a fixed step: curves as .csv or .csv.xz"),
]
PublishedOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="board at a fixed step: CSV of result, steps, mean_loss, runs"
    ),
]
