"""A stand-in for a package that is not installed, for modules that import it but do not need it.

AlgoPerf's PyTorch submissions share helper modules with its JAX submissions. These modules import
JAX, use its types as annotations and its functions as decorators, which works without JAX as long
as none of the decorated functions is called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class AbsentModule(ModuleType):
    """A module whose every attribute is `Absent`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        return Absent.attribute(self.__name__, name)


class Absent:
    """Any attribute of a package that is not installed.

    It can be accessed, subclassed, subscripted, and called at the top level of a module, as a
    decorator is. Called inside a function, it raises ModuleNotFoundError.
    """

    def __init__(self, name: str, *_: Any) -> None:
        self._name = name

    @staticmethod
    def attribute(owner: str, name: str) -> Absent:
        """Returns OWNER.NAME; raises AttributeError for special names, which Python looks up."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{owner}.{name}")

    def __getattr__(self, name: str) -> Absent:
        return Absent.attribute(self._name, name)

    def __call__(self, *_: Any, **__: Any) -> Absent:
        """Returns itself at the top level of a module; raises ModuleNotFoundError elsewhere."""
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
