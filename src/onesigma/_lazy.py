"""Packages that import a name when it is first asked for: who standardizes a table does not wait for torch."""

import random
import sys
from collections.abc import Collection, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["import_when_asked"]


class _Package(ModuleType):
    _places: Mapping[str, str]
    _rooms: Collection[str]

    def __getattr__(self, name: str) -> Any:
        if name in self._rooms:
            return _imported(f"{self.__name__}.{name}")
        if name not in self._places:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(_imported(self._places[name]), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # Python puts every imported submodule here, but `onesigma.measure` is the function, not the room it lives in.
        if name not in self._places or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._places, *self._rooms})


def _imported(name: str) -> ModuleType:
    """A module; the caller's random numbers stay as they are, though some packages draw while they are imported."""
    state = random.getstate()
    try:
        return import_module(name)
    finally:
        random.setstate(state)


def import_when_asked(package: str, places: Mapping[str, str], *, rooms: Collection[str] = ()) -> None:
    """Give a package names that live elsewhere, and rooms below it, imported at first use.

    Args:
        package: Its `__name__`.
        places: The module of each name.
        rooms: Subpackages that are public names themselves.
    """
    module = sys.modules[package]
    vars(module).update(_places=places, _rooms=rooms)
    module.__class__ = _Package
