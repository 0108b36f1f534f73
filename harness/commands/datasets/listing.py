"""Datasets and their files as rows, for tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from harness.commands.datasets.plan import Plan, states
from harness.commands.datasets.source import FILE, read


def datasets() -> list[dict[str, Any]]:
    """All datasets of the workloads that read files, by their TOML file."""
    import workloads

    users: dict[Any, list[str]] = {}
    for name in workloads.names():
        workload = workloads.get(name)
        path = workloads.folder(workload) / FILE
        if workload.data_source and path.is_file() and workload.base_name == name:
            users.setdefault(path, []).append(name)
    found = []
    for path, names in users.items():
        dataset = read(path)
        files = dataset.files
        size = sum(file.size for file in files)
        unpacked = sum(file.unpack.bytes for file in files if file.unpack)
        found.append(
            {
                "workloads": names,
                "title": dataset.title,
                "page": dataset.page,
                "licence": dataset.licence,
                "obtain": dataset.obtain,
                "note": dataset.note,
                "download_bytes": size,
                "disk_bytes": size + unpacked + dataset.prepared_bytes,
                "described_by": str(path),
            }
        )
    return found


def rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """The files of a dataset: numbered files in the same state are one row."""
    words = states(plan)
    steps = iter(plan.steps)
    for described in plan.dataset.file:
        group = [next(steps) for _ in described.numbered()]
        some = {words[step.file.name] for step in group}
        together = [group] if len(some) == 1 else [[step] for step in group]
        for several in together:
            first = several[0]
            name = first.file.name
            if len(several) > 1:
                name = f"{name} to {several[-1].file.name} ({len(several)})"
            given = str(first.given.parent) if first.given else "you (see the licence)"
            yield {
                "name": name,
                "bytes": sum(step.file.size for step in several),
                "is_exact": first.file.bytes is not None,
                "checksum": first.file.checksum,
                "source": (urlsplit(first.url).hostname or "") if first.url else given,
                "state": words[first.file.name],
            }


def plan_as_plain(plan: Plan) -> dict[str, Any]:
    """A plan as JSON data."""
    words = states(plan)
    return {
        "title": plan.dataset.title,
        "page": plan.dataset.page,
        "licence": plan.dataset.licence,
        "obtain": plan.dataset.obtain,
        "note": plan.dataset.note,
        "described_by": str(plan.dataset.path),
        "to_download_bytes": plan.transfer_bytes,
        "disk_bytes": plan.needed_bytes,
        "free_bytes": plan.free_bytes,
        "files": [
            {
                "name": step.file.name,
                "bytes": step.file.size,
                "is_exact": step.file.bytes is not None,
                "sha256": step.file.sha256,
                "md5": step.file.md5,
                "url": step.url,
                "state": words[step.file.name],
            }
            for step in plan.steps
        ],
    }
