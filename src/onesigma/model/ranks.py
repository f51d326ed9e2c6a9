"""Ranks of torch.distributed that act as one: what one raises all raise, and every rank gets what all have."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch.distributed as dist

from onesigma._errors import ConfigError, EngineError

__all__ = ["exchanged", "meeting", "num_ranks"]

T = TypeVar("T")


def num_ranks(group: Any = None) -> int:
    """Return how many ranks there are.

    Raises:
        ConfigError: There is no process group.

    Example:
        >>> num_ranks()
        Traceback (most recent call last):
        onesigma._errors.ConfigError: No process group: call torch.distributed.init_process_group first, on every rank.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise ConfigError("No process group: call torch.distributed.init_process_group first, on every rank.")
    return dist.get_world_size(group)


@contextmanager
def meeting() -> Iterator[None]:
    """While open, ranks talk to one another.

    Raises:
        EngineError: One is gone, or did not come before the time-out of the process group.
    """
    try:
        yield
    except RuntimeError as error:  # also `DistBackendError`
        words = " ".join(str(error).split())[:200]
        raise EngineError(
            f"Ranks did not meet: {words}; was it called on every rank, and is every rank alive?"
        ) from error


def exchanged(function: Callable[[], T], *, group: Any = None) -> list[T]:
    """Call a function and return the results of all ranks, in order of rank. All ranks must call.

    A rank whose function raises still takes part, so that no other waits for it: it raises its own error, the others
    an `EngineError` that names it.

    Raises:
        EngineError: Another rank raised, or did not come before the time-out of the process group.
    """
    size, failure, mine = num_ranks(group), None, None
    try:
        mine = function()
    except Exception as error:
        failure = error
    told = None if failure is None else f"{type(failure).__name__}: {failure}"
    parts: list[Any] = [None] * size
    try:
        with meeting():
            dist.all_gather_object(parts, (mine, told), group=group)
    except EngineError as error:
        raise failure or error from error.__cause__
    if failure is not None:
        raise failure
    failed = [f"rank {rank} raised {words}" for rank, (_, words) in enumerate(parts) if words is not None]
    if failed:
        raise EngineError(f"{failed[0]}; nothing was changed on any rank.")
    return [part for part, _ in parts]
