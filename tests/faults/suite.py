"""All cases together."""

from collections.abc import Callable, Iterator

from . import (
    cases,
    cases_structure,
    clean,
    clean_wide,
    strangers,
    unseen_data,
    unseen_depth,
    unseen_losses,
    unseen_training,
    unseen_weights,
)
from .cases_wide import WIDE
from .registry import FAULTS, Case, Fault
from .stranger_clean import stranger_healthy
from .unseen import UNSEEN
from .unseen_clean import unseen_healthy

__all__ = ["ALL", "healthy"]

# Importing a module of cases registers them.
for module in (
    cases,
    cases_structure,
    strangers,
    unseen_data,
    unseen_depth,
    unseen_losses,
    unseen_training,
    unseen_weights,
):
    assert module.__doc__

ALL: tuple[Fault, ...] = (*FAULTS, *WIDE, *UNSEEN)


def healthy(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Name and builder of every healthy model."""
    yield from clean.cases(seed)
    yield from clean_wide.cases(seed)
    yield from unseen_healthy(seed)
    yield from stranger_healthy(seed)
