"""Removes the publisher's folders and machines from results before publication."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from scoring.reading.results import Results

_ABSOLUTE = re.compile(r"(?<![\w.~:/<…])/(?:[^\s/:,;\"'<>()\[\]{}]+/)+([^\s/:,;\"'<>()\[\]{}]*)")
_MACHINE = ("host", "pid")  # keys of an environment that name a machine
_SHORT = 3  # characters: shorter host names are not searched for in texts


class Public:
    """Removes the publisher's folders and machines from texts and data.

    A folder of results is shown by the last parts of its path that distinguish it from the others,
    any other absolute path by its last part, and a machine by a number.

    Args:
        trees: The folders of results.
        hosts: The names of machines.
    """

    def __init__(self, trees: Iterable[str], hosts: Iterable[str] = ()) -> None:
        self._folders = _labels(set(trees))
        hosts = set(hosts)
        self._hosts = {host: f"host-{n}" for n, host in enumerate(sorted(hosts - {""}), 1)}
        named = [re.escape(host) for host in self._hosts if len(host) >= _SHORT]
        self._named = re.compile(rf"(?<![\w.-])(?:{'|'.join(named)})(?![\w.-])") if named else None

    @classmethod
    def of(cls, results: Results) -> Self:
        """For the folders and machines of results."""
        trees = {s.tree for s in results.submissions.values()} | {*results.environments}
        hosts = {trial.run.host for trial in results.trials}
        hosts |= {str(facts.get("host", "")) for facts in results.environments.values()}
        return cls(trees, hosts)

    def text(self, text: str) -> str:
        """A text without absolute paths and names of machines."""
        text = self.folders(text)
        text = _ABSOLUTE.sub(lambda found: f"…/{found[1]}", text)
        if self._named is not None:
            text = self._named.sub(lambda found: self._hosts[found[0]], text)
        return text

    def folders(self, text: str) -> str:
        """Replaces the folders of results in a text or page by their labels."""
        for folder, label in self._folders.items():
            pattern = rf"(?<![\w.<]){re.escape(folder)}(?![\w])"
            text = re.sub(pattern, lambda _, label=label: label, text)  # type: ignore[misc]
        return text

    def host(self, name: str) -> str:
        """The public name of a machine, such as "host-1"."""
        return self._hosts.get(name, "")

    def environment(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The environment of a tree without names of machines."""
        return {key: self.plain(value) for key, value in facts.items() if key not in _MACHINE}

    def plain(self, data: Any) -> Any:
        """Plain data with every text and `host` made public."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, Mapping):
            return {
                self.text(str(key)): self.host(value)
                if key == "host" and isinstance(value, str)
                else self.plain(value)
                for key, value in data.items()
            }
        if isinstance(data, (list, tuple)):
            return [self.plain(value) for value in data]
        return data


def _labels(trees: set[str]) -> dict[str, str]:
    """The label of each folder, both as given and resolved; the longest path first."""
    paths = {tree: Path(tree).resolve() for tree in sorted(trees)}
    labels: dict[str, str] = {}
    for tree, path in paths.items():
        others = [other for other in paths.values() if other != path]
        for length in range(1, len(path.parts)):
            label = "/".join(path.parts[-length:])
            if not any("/".join(other.parts[-length:]) == label for other in others):
                break
        for folder in (str(path), tree):
            if Path(folder).is_absolute() and len(path.parts) > 1:
                labels |= {folder: label, html.escape(folder): html.escape(label)}
    return dict(sorted(labels.items(), key=lambda item: -len(item[0])))
