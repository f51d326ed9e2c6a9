"""The caller's global random generators, left where they stood."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch

__all__ = ["random_state_preserved", "with_own_randomness"]

T = TypeVar("T")


@contextmanager
def random_state_preserved() -> Iterator[None]:
    """While open random numbers may be drawn from the global generators; afterwards they stand where they stood."""
    restore = _random_state_restorer()
    try:
        yield
    finally:
        restore()


def with_own_randomness(items: Iterable[T]) -> Iterator[T]:
    """The items of an iterable that draws from the global generators, as a shuffling loader does: from copies of them.

    What the loader draws does not move the generators, and what is drawn between two items does not move the loader.

    Example:
        >>> noise = (torch.rand(()).item() for _ in range(2))
        >>> _ = torch.manual_seed(0)
        >>> first, second = with_own_randomness(noise)
        >>> first != second, torch.rand(()).item() == first
        (True, True)
    """
    iterator, go_on = None, _random_state_restorer()
    while True:
        come_back = _random_state_restorer()
        go_on()
        try:
            iterator = iter(items) if iterator is None else iterator
            item = next(iterator)
        except StopIteration:
            return
        finally:
            go_on = _random_state_restorer()
            come_back()
        yield item


def _random_state_restorer() -> Callable[[], None]:
    """Return what puts the global generators back where they stand now."""
    host = torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    python, numpy = random.getstate(), np.random.get_state()

    def restore() -> None:
        torch.set_rng_state(host)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        random.setstate(python)
        np.random.set_state(numpy)

    return restore
