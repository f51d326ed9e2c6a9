"""All cases together."""

from collections.abc import Callable, Iterator

from . import clean, clean_wide
from .cases import FAULTS, Case, Fault
from .cases_wide import WIDE

__all__ = ["ALL", "healthy"]

ALL: tuple[Fault, ...] = (*FAULTS, *WIDE)


def healthy(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Name and builder of every healthy model."""
    yield from clean.cases(seed)
    yield from clean_wide.cases(seed)
