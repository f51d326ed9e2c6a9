"""Exact moments of the channels of a signal, added to batch by batch."""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple, Self

import numpy as np
import torch

from onesigma.norm.twofold import mean_and_variance
from onesigma.numbers.channel_rows import write_rows
from onesigma.numbers.kernel import Array
from onesigma.numbers.moments import Moments
from onesigma.numbers.sums import Sums
from onesigma.numbers.tally import Tally
from onesigma.numbers.tensors import tensor_array

__all__ = ["Channels", "Reading", "Scratch", "as_table"]

# Fewer rows than this are kept until there are as many: a scan costs per column, too.
_ROWS = 2048
# But no more values than this.
_KEPT = 1 << 21

_SINGLE = (torch.float32, torch.float16, torch.bfloat16)


def as_table(values: torch.Tensor) -> torch.Tensor:
    """(N, C, …) → (values per channel, C).

    Example:
        >>> as_table(torch.zeros(4, 3, 5, 5)).shape
        torch.Size([100, 3])
    """
    return values.detach().movedim(1, -1).flatten(0, -2)


class Reading(NamedTuple):
    """Numbers of every channel.

    Attributes:
        counts: Finite values.
        nonfinite: All others.
        mean: In float64.
        variance: In float64, divided by count − correction.
    """

    counts: Array
    nonfinite: Array
    mean: Array
    variance: Array

    def tensors(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of the type and on the device of `like`."""
        mean, variance = (torch.from_numpy(part).to(like) for part in (self.mean, self.variance))
        return mean, variance


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
        self._waiting = torch.empty(0)
        self._rows = 0
        for tally in tallies:
            self._add(tally)

    def add(self, table: torch.Tensor) -> None:
        """Add (values, channels)."""
        self._add(Tally.of([tensor_array(table)]))

    def feed(self, values: torch.Tensor, *, scratch: "Scratch") -> Reading | None:
        """Add (N, C, …); what these values are by themselves (correction 0), where that costs nothing more.

        Small parts are copied and counted together later.
        """
        values = values.detach().movedim(1, -1)
        channels = values.shape[-1]
        rows = values.numel() // max(channels, 1)
        # Of images the reading is worth a scan: torch takes three passes for the statistics of a batch of them.
        most = _ROWS if values.dim() == 2 else _ROWS // 4
        kept = max(1, min(most, _KEPT // max(channels, 1)))
        if values.dtype not in _SINGLE or values.device.type != "cpu" or not rows:
            self.add(values.flatten(0, -2))
            return None
        if rows < kept:
            self._keep(values, rows=rows, size=(kept, channels))
            return None
        table = scratch.like(values).view(rows, channels)
        _write_rows(values, table)
        tally = Tally.of([table.numpy()])
        self._add(tally)
        return _read(tally)

    def merge(self, other: Self) -> Self:
        """The moments of both parts of the data together; neither changes."""
        self.settle()
        other.settle()
        tallies = [*self._tallies.values(), *other._tallies.values()]
        return type(self)(tally.merge(Tally.zero(tally.layout, len(tally.finite))) for tally in tallies)

    def moments(self) -> list[Moments]:
        """One `Moments` per channel."""
        self.settle()
        parts = [
            [
                Moments.of_sums(Sums.of_tally(tally, column), kind="number", nulls=0)
                for column in range(len(tally.finite))
            ]
            for tally in self._tallies.values()
        ]
        return [reduce(Moments.merge, channel) for channel in zip(*parts, strict=True)]

    def read(self, *, correction: int = 0) -> Reading:
        """The numbers, each rounded once; those of float32 values, all channels together."""
        self.settle()
        if list(self._tallies) == ["float32"]:
            return _read(self._tallies["float32"], correction=correction)
        moments = self.moments()
        count = np.array([each.count for each in moments])
        nonfinite = np.array([each.nans + each.pos_infs + each.neg_infs for each in moments])
        means = np.array([each.mean for each in moments], dtype=np.float64)
        variances = np.array([each.variance(correction=correction) for each in moments], dtype=np.float64)
        return Reading(count, nonfinite, means, variances)

    def settle(self) -> None:
        """Count what waits."""
        self._count_waiting()
        self._waiting = torch.empty(0)

    def _keep(self, values: torch.Tensor, *, rows: int, size: tuple[int, int]) -> None:
        is_new = self._waiting.shape != size  # of rows there was room for more than of sequences
        if is_new or self._rows + rows > size[0]:
            self._count_waiting()
        if is_new:
            self._waiting = torch.empty(size)
        self._waiting[self._rows : self._rows + rows].view(values.shape).copy_(values)
        self._rows += rows

    def _count_waiting(self) -> None:
        if self._rows:
            tally = Tally.of([self._waiting[: self._rows].numpy()])
            self._rows = 0
            self._add(tally)

    def _add(self, tally: Tally) -> None:
        name = tally.layout.name
        if name in self._tallies:
            self._tallies[name].add(tally)
        else:
            self._tallies[name] = tally


class Scratch:
    """Memory for one table at a time, taken once: fresh memory costs as much as what is written into it."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def like(self, values: torch.Tensor) -> torch.Tensor:
        """Contiguous float32 of this shape; what it held before is lost."""
        if values.numel() > self._memory.numel():
            self._memory = torch.empty(values.numel())
        return self._memory[: values.numel()].view(values.shape)


def _write_rows(values: torch.Tensor, table: torch.Tensor) -> None:
    """(N, …, C), wherever its channels lie, to (rows, C)."""
    images = values.movedim(-1, 1)
    # On more threads than two torch's own copy is faster.
    if values.dim() > 2 and values.dtype == table.dtype and images.is_contiguous() and torch.get_num_threads() <= 2:
        write_rows(images.flatten(2).numpy(), table.numpy())
    else:
        table.view(values.shape).copy_(values)


def _read(tally: Tally, *, correction: int = 0) -> Reading:
    mean, variance = mean_and_variance(tally, correction=correction)
    return Reading(tally.finite, tally.nonfinite.sum(1), mean, variance)
