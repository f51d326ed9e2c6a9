"""Exact moments of the channels of a signal, added to batch by batch."""

from collections.abc import Iterable
from functools import reduce
from typing import Self

import torch

from onesigma.numbers.arrays import tensor_array
from onesigma.numbers.moments import Moments
from onesigma.numbers.sums import Sums
from onesigma.numbers.tally import Tally

__all__ = ["Channels", "as_table"]


def as_table(values: torch.Tensor) -> torch.Tensor:
    """(N, C, …) → (values per channel, C).

    Example:
        >>> as_table(torch.zeros(4, 3, 5, 5)).shape
        torch.Size([100, 3])
    """
    return values.detach().movedim(1, -1).flatten(0, -2)


class Channels:
    """Exact counts, sums and sums of squares per channel: of no values, of a table, or merged.

    Example:
        >>> channels = Channels()
        >>> channels.add(torch.tensor([[1.0], [5.0]]))
        >>> channels.moments()[0].mean
        3.0
    """

    def __init__(self, tallies: Iterable[Tally] = ()) -> None:
        # One of each layout: a layer may see float32 here and float64 there.
        self._tallies: dict[str, Tally] = {}
        for tally in tallies:
            self._add(tally)

    def add(self, table: torch.Tensor) -> None:
        """Add (values, channels)."""
        self._add(Tally.of([tensor_array(table)]))

    def merge(self, other: Self) -> Self:
        """The moments of both parts of the data together; neither changes."""
        tallies = [*self._tallies.values(), *other._tallies.values()]
        return type(self)(tally.merge(Tally.zero(tally.layout, len(tally.finite))) for tally in tallies)

    def moments(self) -> list[Moments]:
        """One `Moments` per channel."""
        parts = [
            [
                Moments.of_sums(Sums.of_tally(tally, column), kind="number", nulls=0)
                for column in range(len(tally.finite))
            ]
            for tally in self._tallies.values()
        ]
        return [reduce(Moments.merge, channel) for channel in zip(*parts, strict=True)]

    def _add(self, tally: Tally) -> None:
        name = tally.layout.name
        if name in self._tallies:
            self._tallies[name].add(tally)
        else:
            self._tallies[name] = tally
