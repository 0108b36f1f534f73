"""A package that is not installed, for modules that import it and do without it.

AlgoPerf's PyTorch submissions share helper modules with its JAX submissions. These import JAX,
annotate with its types and decorate with its functions, which takes no JAX as long as nothing is
computed with it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class AbsentModule(ModuleType):
    """A module whose every name is `Absent`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        return Absent.attribute(self.__name__, name)


class Absent:
    """Something of a package that is not installed.

    It may be named, subclassed, subscripted, and called by the lines of a module itself, which
    decorate. Called by a function it raises ModuleNotFoundError.
    """

    def __init__(self, name: str, *_: Any) -> None:
        self._name = name

    @staticmethod
    def attribute(owner: str, name: str) -> Absent:
        """OWNER.NAME; names that Python itself looks for are not there."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{owner}.{name}")

    def __getattr__(self, name: str) -> Absent:
        return Absent.attribute(self._name, name)

    def __call__(self, *_: Any, **__: Any) -> Absent:
        """Gives itself to a module's own lines."""
        if sys._getframe(1).f_code.co_name != "<module>":
            package = self._name.partition(".")[0]
            raise ModuleNotFoundError(f"{self._name} was called, and {package} is not installed")
        return self

    def __getitem__(self, key: Any) -> Absent:
        return self

    def __or__(self, other: Any) -> Any:
        return Any

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()
