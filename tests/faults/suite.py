"""All cases together."""

from collections.abc import Callable, Iterator

from . import cases, cases_structure, clean, clean_wide
from .cases_wide import WIDE
from .registry import FAULTS, Case, Fault

__all__ = ["ALL", "healthy"]

# Importing a module of cases registers them.
assert cases.__doc__
assert cases_structure.__doc__

ALL: tuple[Fault, ...] = (*FAULTS, *WIDE)


def healthy(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Name and builder of every healthy model."""
    yield from clean.cases(seed)
    yield from clean_wide.cases(seed)
