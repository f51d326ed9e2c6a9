"""Ranks of torch.distributed: each passes over its own data, and all end with the same bits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from onesigma._errors import ConfigError
from onesigma.engines.local import NoDatasets
from onesigma.engines.protocol import tree_merged
from onesigma.model.ranks import exchanged, num_ranks

__all__ = ["Ranks", "opened"]

S = TypeVar("S")
T = TypeVar("T")


class Ranks(NoDatasets):
    """All ranks of the default process group. Every rank must call, with its own part of the data or with none."""

    name = "ranks"
    workers = 1

    def map_merge(self, shards: Sequence[Any], of: Callable[[Any], S], *, merge: Callable[[S, S], S], zero: S) -> S:
        """See `Engine`."""
        states = exchanged(lambda: tree_merged(map(of, shards), merge, zero=zero))
        return tree_merged(states, merge, zero=zero)

    def agreed(self, function: Callable[[], T]) -> T:
        """See `Engine`: a rank that raises makes all raise."""
        own: list[T] = []
        exchanged(lambda: own.append(function()))
        return own[0]


@contextmanager
def opened(name: str, *, address: str | None = None) -> Iterator[Ranks]:
    """Use the default process group."""
    num_ranks()
    if address is not None:
        raise ConfigError(f"engine={name!r} has no address; init_process_group has connected the ranks.")
    yield Ranks()
