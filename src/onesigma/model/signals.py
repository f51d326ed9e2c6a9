"""Scale of tensors, reduced where they live: one row of numbers each, all copied to the host at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from onesigma.model.reduction import (
    Row,
    as_rows,
    histogram_edges,
    real_values,
    reduced,
    reduced_and_counted,
    wide_dtype,
)
from onesigma.model.trace import Signal

__all__ = ["Ledger", "Moments", "sample_axis"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What one tensor leaves behind, as sums about its means: two of them merge without loss.

    Attributes:
        count: Finite values.
        nonfinite: NaN and infinite values.
        mean: Mean of the finite values.
        squares: Sum of their squared distances from that mean.
        minimum: Smallest finite value.
        maximum: Largest finite value.
        num_samples: N; 0 without an axis of samples.
        within: Sum of squared distances of each value from the mean of its feature over the samples.
        products: Sum over pairs of samples i ≠ j of x_i·x_j.
        pairs: Number of these pairs.
        self_products: Sum over samples of x_i·x_i.
        counts: Histogram.
        edges: Its first and last edge.
    """

    count: int = 0
    nonfinite: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    num_samples: int = 0
    within: float = 0.0
    products: float = 0.0
    pairs: int = 0
    self_products: float = 0.0
    counts: tuple[int, ...] = ()
    edges: tuple[float, float] = (0.0, 0.0)

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both parts together; the histogram is that of the first part that has one."""
        if not self.count + self.nonfinite or not other.count + other.nonfinite:
            return other if not self.count + self.nonfinite else self
        count = max(self.count + other.count, 1)
        shift = other.mean - self.mean
        return replace(
            self if self.counts else other,
            count=self.count + other.count,
            nonfinite=self.nonfinite + other.nonfinite,
            mean=self.mean + shift * other.count / count,
            squares=self.squares + other.squares + shift * shift * self.count * other.count / count,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            num_samples=self.num_samples + other.num_samples,
            within=self.within + other.within,
            products=self.products + other.products,
            pairs=self.pairs + other.pairs,
            self_products=self.self_products + other.self_products,
        )

    def signal(self) -> Signal:
        """The moments, read: every number is rounded once, here."""
        variance = self.squares / self.count if self.count else 0.0
        compared = self.pairs > 0 and self.count > 0 and not self.nonfinite
        return Signal(
            count=self.count + self.nonfinite,
            mean=self.mean,
            std=math.sqrt(variance),
            rms=math.sqrt(variance + self.mean * self.mean),
            minimum=self.minimum if self.count else 0.0,
            maximum=self.maximum if self.count else 0.0,
            nonfinite=self.nonfinite,
            num_samples=self.num_samples,
            sample_std=math.sqrt(self.within / self.count) if compared else None,
            correlation=self._correlation() if compared else None,
            edges=self.edges,
            histogram=self.counts,
        )

    def _correlation(self) -> float | None:
        if not self.self_products:
            return None
        return (self.products / self.pairs) / (self.self_products / self.num_samples)


def sample_axis(tensor: torch.Tensor, *, num_samples: int) -> int | None:
    """The axis of samples: the first if it is as long as the batch, else the only other one that is; None if none is.

    Example:
        >>> sample_axis(torch.zeros(7, 32, 5), num_samples=32)
        1
    """
    fitting = [axis for axis, size in enumerate(tensor.shape) if size == num_samples]
    if num_samples == 0 or not fitting or (fitting[0] != 0 and len(fitting) > 1):
        return None
    return fitting[0]


class Ledger:
    """Collects numbers of many tensors on their device and copies them to the host in one go.

    Example:
        >>> ledger = Ledger()
        >>> slot = ledger.add(torch.tensor([1.0, 2.0, 3.0, 6.0]))
        >>> ledger.collect()
        >>> ledger.moments(slot).signal().mean
        3.0
    """

    def __init__(self) -> None:
        self._pending: list[Row] = []
        self._sizes: list[tuple[int, int]] = []
        self._rows: list[np.ndarray] = []

    def add(self, tensor: torch.Tensor, *, num_samples: int = 0, histogram: bool = False) -> int:
        """Reduce a tensor now, on its device; nothing of it is kept. The slot names it in `moments`."""
        # Outside of every mode: a recorder or a guard that is active would look at each step of the reduction.
        with torch.no_grad(), torch._C.DisableTorchFunction():
            values = real_values(tensor.detach())
            axis = sample_axis(values, num_samples=num_samples)
            rows = as_rows(values, axis=axis)
            reduce = reduced_and_counted if histogram else reduced
            row = reduce(rows) if rows.numel() else np.zeros(7)
        return self.note(row, numel=values.numel(), num_samples=0 if axis is None else rows.shape[0])

    def note(self, row: Row, *, numel: int = 0, num_samples: int = 0) -> int:
        """Keep a vector of numbers as it is; `row` reads it back."""
        self._pending.append(row.detach().reshape(-1) if isinstance(row, torch.Tensor) else row)
        self._sizes.append((numel, num_samples))
        return len(self._pending) - 1

    def collect(self) -> None:
        """Copy all numbers to the host at once; nothing can be added afterwards."""
        away = [row for row in self._pending if isinstance(row, torch.Tensor)]
        parts = iter(_fetched(away) if away else ())
        self._rows = [next(parts) if isinstance(row, torch.Tensor) else row for row in self._pending]
        self._pending.clear()

    def row(self, slot: int) -> np.ndarray:
        """A vector that was noted."""
        return self._rows[slot]

    def moments(self, slot: int) -> Moments:
        """The numbers of one tensor that was added."""
        row, (numel, num_samples) = self._rows[slot], self._sizes[slot]
        nonfinite, mean, squares, within, between, low, high = map(float, row[:7])
        if numel == int(nonfinite):
            return Moments(nonfinite=numel)
        is_constant, is_compared = low == high and not nonfinite, num_samples > 1
        within = 0.0 if is_constant or not is_compared else within
        return Moments(
            count=numel - int(nonfinite),
            nonfinite=int(nonfinite),
            mean=low if is_constant else mean,
            squares=0.0 if is_constant else squares,
            minimum=low,
            maximum=high,
            num_samples=num_samples,
            within=within,
            products=(num_samples - 1) * between - within if is_compared else 0.0,
            pairs=num_samples * (num_samples - 1),
            self_products=between + within if is_compared else 0.0,
            counts=tuple(map(int, row[7:])),
            edges=histogram_edges(low, high) if len(row) > 7 else (0.0, 0.0),
        )


def _fetched(rows: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Copies on the host, made in one go from one device."""
    device = rows[0].device
    flat = torch.cat([row.to(device=device, dtype=wide_dtype(device)) for row in rows]).cpu()
    return np.split(flat.double().numpy(), np.cumsum([len(row) for row in rows])[:-1])
