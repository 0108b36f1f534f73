"""The commands for datasets: data list, download, prepare, check, get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.completion import completed
from harness.cli.options import DataDirOption, JsonOption, console, preparing, print_json, say

if TYPE_CHECKING:
    from harness.commands.datasets.plan import Plan
    from harness.commands.datasets.source import Dataset

app = typer.Typer(help="Downloads, checks and prepares datasets.", no_args_is_help=True)
WorkloadArgument = Annotated[str, typer.Argument(help="see `chronograd workloads`")]
RequiredDataDir = Annotated[Path, typer.Option("--data-dir", help="folder of the dataset")]
JobsOption = Annotated[
    int, typer.Option(help="files that are downloaded and unpacked at a time", metavar="N", min=1)
]
SourceOption = Annotated[
    Path | None,
    typer.Option(
        help="another description of the dataset, for example of a mirror; "
        "`data list WORKLOAD` shows where the built-in one is",
        exists=True, dir_okay=False, metavar="FILE",
    ),
]  # fmt: skip
ArchivesOption = Annotated[
    Path | None,
    typer.Option(
        help="folder with archives that you downloaded yourself", exists=True, file_okay=False
    ),
]
UrlOption = Annotated[
    list[str] | None,
    typer.Option(
        help="address of a file, as mailed to you; it contains the file's name; repeatable"
    ),
]
KeepOption = Annotated[
    bool, typer.Option("--keep-archives", help="keep downloaded archives once they are unpacked")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="only show what would be downloaded")]


@app.command("list")
@completed
def list_(
    workload: Annotated[
        str | None, typer.Argument(help="one workload, with its files; default: all datasets")
    ] = None,
    data_dir: DataDirOption = None,
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lists the datasets, or the files of one and what is there of them.

    Example: chronograd data list ogbg --data-dir /data/ogbg
    """
    if workload is not None:
        plan = _plan(workload, data_dir or Path(), source, None, None)
        if as_json:
            from harness.commands.datasets.listing import plan_as_plain

            print_json(plan_as_plain(plan))
        else:
            _show(plan, of_folder=data_dir is not None)
        return
    from harness.commands.datasets.listing import datasets

    found = datasets()
    if as_json:
        print_json(found)
        return
    from scoring.report.fitted import Column, FittedTable

    table = FittedTable(
        [
            Column("workloads", spare=2),
            Column("dataset", spare=3, prose=True),
            Column("download", right=True, spare=1),
            Column("on disk", right=True, spare=1),
            Column("licence", spare=4, prose=True),
        ],
        caption="on disk: at most, archives and prepared data included",
    )
    for one in found:
        sizes = (_size(one["download_bytes"]), _size(one["disk_bytes"]))
        table.add_row(", ".join(one["workloads"]), one["title"], *sizes, one["licence"])
    console.print(table)


@app.command()
@completed
def download(
    workload: WorkloadArgument,
    data_dir: RequiredDataDir,
    jobs: JobsOption = 4,
    source: SourceOption = None,
    archives: ArchivesOption = None,
    url: UrlOption = None,
    keep_archives: KeepOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Downloads and unpacks a workload's dataset; resumes where it was stopped.

    Files whose licence a person has to accept (ImageNet, fastMRI) are taken
    from --archives, or from the address that was mailed to you (--url).

    Examples:
      chronograd data download ogbg --data-dir /data/ogbg
      chronograd data download imagenet_vit --data-dir D --archives ~/Downloads
    """
    _download(_plan(workload, data_dir, source, archives, url), jobs, keep_archives, dry_run)


@app.command()
@completed
def get(
    workload: WorkloadArgument,
    data_dir: RequiredDataDir,
    jobs: JobsOption = 4,
    source: SourceOption = None,
    archives: ArchivesOption = None,
    url: UrlOption = None,
    keep_archives: KeepOption = False,
) -> None:
    """Downloads, prepares and checks a workload's dataset: the three commands in one.

    Example: chronograd data get ogbg --data-dir /data/ogbg
    """
    _download(_plan(workload, data_dir, source, archives, url), jobs, keep_archives, False)
    prepare(workload, data_dir)
    check(workload, data_dir)


@app.command()
@completed
def check(workload: WorkloadArgument, data_dir: DataDirOption = None) -> None:
    """Reads a workload's data and prints what is missing, damaged or of the wrong size.

    Example: chronograd data check ogbg --data-dir /data/ogbg
    """
    import workloads
    from harness.commands.doctor import whole_data
    from harness.commands.finding import worst

    found = whole_data(workloads.get(workload, None if data_dir is None else data_dir.resolve()))
    for finding in found:
        if finding.passed:
            say(f"{finding.where}: {finding.what}")
        else:
            say(finding.what, style="red")
    if fix := found[0].fix:
        say(fix)
    if not worst(found).passed:
        raise typer.Exit(1)


@app.command()
@completed
def prepare(workload: WorkloadArgument, data_dir: DataDirOption = None) -> None:
    """Prepares a workload's data for training; resumes where it was stopped.

    Example: chronograd data prepare ogbg --data-dir /data/ogbg
    """
    import workloads

    loaded = workloads.get(workload, None if data_dir is None else data_dir.resolve())
    loaded.check_data()
    with preparing() as progress:
        loaded.prepare_data(progress)
    say(f"{workload}: ready")


def _plan(
    workload: str,
    data_dir: Path,
    source: Path | None,
    archives: Path | None,
    urls: list[str] | None,
) -> Plan:
    from harness.commands.datasets.plan import make_plan

    return make_plan(_dataset(workload, source), data_dir.resolve(), archives, urls or ())


def _dataset(workload: str, source: Path | None) -> Dataset:
    from harness.commands.datasets.source import of_workload, read
    from harness.spec import DataError

    dataset = of_workload(workload)
    if source is not None:
        return read(source)
    if dataset is None:
        raise DataError(f"{workload}: there is nothing to download, it needs no files")
    return dataset


def _download(plan: Plan, jobs: int, keep_archives: bool, dry_run: bool) -> None:
    """Shows what a download needs, and does it if it fits; exits with 1 if a file failed."""
    from harness.cli.transfers import transferring
    from harness.commands.datasets.download import download as run

    _show(plan, of_folder=True)
    if dry_run:
        return
    plan.check()
    with transferring(plan) as watcher:
        faults = run(plan, jobs, watcher, keep_archives=keep_archives)
    for fault in faults:
        say(fault, style="red")
    if faults:
        raise typer.Exit(1)
    say(f"{plan.folder.path}: all files are there")


def _show(plan: Plan, *, of_folder: bool) -> None:
    """Prints the files of a dataset, its licence, and the disk space that it needs."""
    from harness.commands.datasets.listing import rows
    from scoring.report.fitted import Column, FittedTable

    dataset = plan.dataset
    say(f"{dataset.title}: {dataset.page}")
    say(f"Licence: {dataset.licence}")
    if dataset.note:
        say(f"Note: {dataset.note}")
    columns = [Column("file"), Column("size", right=True), Column("verified by"), Column("from")]
    table = FittedTable([*columns, *([Column("state")] if of_folder else [])])
    for row in rows(plan):
        exact = "" if row["is_exact"] else "up to "
        cells = (row["name"], exact + _size(row["bytes"]), row["checksum"], row["source"])
        table.add_row(*cells, *([row["state"]] if of_folder else []))
    console.print(table)
    if of_folder:
        say(
            f"To download: {_size(plan.transfer_bytes)}; disk space needed: "
            f"{_size(plan.needed_bytes)} at most, free: {_size(plan.free_bytes)} "
            f"({plan.folder.path})"
        )
    say(f"Described by {dataset.path}")


def _size(count: int) -> str:
    """A number of bytes, for people."""
    from rich.filesize import decimal

    return decimal(count)
