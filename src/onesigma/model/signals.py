"""Scale of tensors, reduced where they live: one row of numbers each, all copied to the host at once."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from onesigma.model.trace import Signal

__all__ = ["Ledger", "Moments", "sample_axis"]

_BINS = 64
_MAX_HISTOGRAM = 1 << 20
_CHUNK = 1 << 17
# Squares of float32 numbers beyond these overflow or vanish.
_SMALLEST, _LARGEST = 1e-15, 1e15


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
        self._pending: list[torch.Tensor] = []
        self._sizes: list[tuple[int, int]] = []
        self._rows: list[np.ndarray] = []

    def add(self, tensor: torch.Tensor, *, num_samples: int = 0, histogram: bool = False) -> int:
        """Reduce a tensor now, on its device; nothing of it is kept. The slot names it in `moments`."""
        with torch.no_grad():
            values = _real(tensor.detach())
            axis = sample_axis(values, num_samples=num_samples)
            rows = _as_rows(values, axis=axis)
            row = _reduced(rows) if rows.numel() else torch.zeros(7, dtype=torch.float64)
            if histogram and rows.numel():
                row = torch.cat([row, _histogram(rows, low=row[5], high=row[6])])
        return self.note(row, numel=values.numel(), num_samples=0 if axis is None else rows.shape[0])

    def note(self, row: torch.Tensor, *, numel: int = 0, num_samples: int = 0) -> int:
        """Keep a vector of numbers as it is; `row` reads it back."""
        self._pending.append(row.detach().reshape(-1))
        self._sizes.append((numel, num_samples))
        return len(self._pending) - 1

    def collect(self) -> None:
        """Copy all numbers to the host at once; nothing can be added afterwards."""
        if not self._pending:
            return
        device, lengths = self._pending[0].device, [len(row) for row in self._pending]
        wide = _wide(device)
        flat = torch.cat([row.to(device=device, dtype=wide) for row in self._pending]).cpu()
        self._rows = np.split(flat.double().numpy(), np.cumsum(lengths)[:-1])
        self._pending.clear()

    def row(self, slot: int) -> np.ndarray:
        """A vector that was noted."""
        return self._rows[slot]

    def moments(self, slot: int) -> Moments:
        """The numbers of one tensor that was added."""
        row, (numel, num_samples) = self._rows[slot], self._sizes[slot]
        nonfinite, mean, squares, within, between, low, high = map(float, row[:7])
        is_constant = low == high and not nonfinite
        found = Moments(
            count=numel - int(nonfinite),
            nonfinite=int(nonfinite),
            mean=low if is_constant else mean,
            squares=0.0 if is_constant else squares,
            minimum=low,
            maximum=high,
            num_samples=num_samples,
            counts=tuple(map(int, row[7:])),
            edges=_edges(low, high) if len(row) > 7 else (0.0, 0.0),
        )
        if num_samples < 2:
            return found
        return replace(
            found,
            within=0.0 if is_constant else within,
            products=(num_samples - 1) * between - within,
            pairs=num_samples * (num_samples - 1),
            self_products=between + within,
        )


def _real(values: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts of complex numbers; integers and booleans as float32."""
    if values.layout != torch.strided:
        values = values.to_dense()
    if values.is_quantized:
        values = values.dequantize()
    if values.is_complex():
        return torch.view_as_real(values.resolve_conj())
    return values if values.is_floating_point() else values.float()


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _as_rows(values: torch.Tensor, *, axis: int | None) -> torch.Tensor:
    """Samples by features, in the order of memory, so that nothing is copied; without samples, rows of any kind."""
    strides = values.stride()
    order = sorted(range(values.dim()), key=lambda i: (i != axis, -strides[i]))
    values = values.permute(order)
    if axis is not None:
        return values.reshape(values.shape[0], -1)
    size = values.numel()
    return values.reshape(next((rows for rows in (64, 32, 16, 8, 4, 3, 2) if size % rows == 0), 1), -1)


def _reduced(rows: torch.Tensor) -> torch.Tensor:
    """(nonfinite, mean, squares, within, between, minimum, maximum) of a matrix of samples by features."""
    narrow = torch.float64 if rows.dtype == torch.float64 else torch.float32
    if rows.device.type == "cpu":
        row = _sums(rows, dtype=narrow)
        extent = float(row[5:].abs().max())
        if math.isfinite(extent) and (extent == 0 or _SMALLEST < extent < _LARGEST):
            return row
        if math.isfinite(extent):
            return _sums(rows, dtype=torch.float64)
    # Elsewhere to look at a number means to wait for the device, so the careful way is always taken.
    finite = rows.isfinite()
    count = finite.sum()
    mean = rows.to(_wide(rows.device)).where(finite, 0).sum() / count.clamp(min=1)
    row = _sums(rows.where(finite, mean.to(rows.dtype)), dtype=_wide(rows.device))
    row[0] = rows.numel() - count
    return row


def _sums(rows: torch.Tensor, *, dtype: torch.dtype) -> torch.Tensor:
    """The numbers of `_reduced` for finite values, in one pass over memory.

    Each block of columns is measured from its first row: equal samples then differ by exactly 0, and since the first
    row is one of the samples, at most a factor N is lost to cancellation.
    """
    num_rows, num_columns = rows.shape
    chunk = _CHUNK if rows.device.type == "cpu" else _CHUNK << 7
    width = min(num_columns, max(1024, chunk // num_rows))
    height = max(1, chunk // width)
    wide, work = _wide(rows.device), torch.empty(min(height, num_rows) * width, dtype=dtype, device=rows.device)
    parts: list[torch.Tensor] = []
    center: torch.Tensor | None = None
    for start in range(0, num_columns, width):
        block = rows[:, start : start + width]
        drift, about_first, low, high = _block_sums(block, height=height, work=work)
        drift = drift.to(wide) / num_rows
        means = block[0].to(wide) + drift
        center = means.mean() if center is None else center
        offsets = means - center
        within = about_first - num_rows * drift.dot(drift)
        parts.append(
            torch.stack([offsets.sum(), offsets.dot(offsets), within, means.dot(means), low.to(wide), high.to(wide)])
        )
    return _joined(torch.stack(parts), center=center, shape=(num_rows, num_columns))


def _block_sums(block: torch.Tensor, *, height: int, work: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of x − x₀: sums over the rows, and the sum of all squares; then the smallest and the largest x."""
    first = block[0].to(work.dtype)
    drift = torch.zeros_like(first)
    squares, extremes = [], []
    for start in range(0, block.shape[0], height):
        part = block[start : start + height]
        flat = work[: part.numel()]
        shifted = torch.sub(part, first, out=flat.view(part.shape))
        drift += shifted.sum(0)
        squares.append(flat.dot(flat))
        extremes.append(torch.stack(torch.aminmax(part)))
    found = torch.stack(extremes)
    return drift, torch.stack(squares).to(_wide(block.device)).sum(), found[:, 0].amin(), found[:, 1].amax()


def _joined(parts: torch.Tensor, *, center: torch.Tensor | None, shape: tuple[int, int]) -> torch.Tensor:
    num_rows, num_columns = shape
    offset, offset_squares, within, mean_squares = parts[:, :4].sum(0)
    within = within.clamp(min=0)
    shift = offset / num_columns
    spread = (offset_squares - num_columns * shift * shift).clamp(min=0)
    mean = shift if center is None else center + shift
    squares = within + num_rows * spread
    zero = torch.zeros_like(mean)
    return torch.stack([zero, mean, squares, within, num_rows * mean_squares, parts[:, 4].amin(), parts[:, 5].amax()])


def _edges(low: float, high: float) -> tuple[float, float]:
    """Of a histogram: a constant sits in the middle of a bin of width one."""
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _histogram(rows: torch.Tensor, *, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Counts in equal bins from `low` to `high`; of every k-th value where there are very many."""
    sample = rows.reshape(-1)[:: max(1, rows.numel() // _MAX_HISTOGRAM)].to(low.dtype)
    width = torch.where(high > low, high - low, torch.ones_like(low))
    start = torch.where(high > low, low, low - 0.5)
    finite = sample.isfinite()
    place = ((sample - start) * (_BINS / width)).where(finite, 0).clamp(0, _BINS - 1).long()
    return torch.zeros(_BINS, dtype=low.dtype, device=low.device).scatter_add_(0, place, finite.to(low.dtype))
