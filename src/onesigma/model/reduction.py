"""Tensors to rows of numbers, on whatever device they are: compiled loops on the CPU, tensor operations elsewhere."""

import math
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

from onesigma.model.kernel import bin_counts, row_sums
from onesigma.numbers.threads import shared_out

__all__ = [
    "Row",
    "as_rows",
    "histogram_edges",
    "histogram_of",
    "real_values",
    "reduced",
    "reduced_and_counted",
    "wide_dtype",
]

Row: TypeAlias = torch.Tensor | np.ndarray
"""Numbers of one tensor: on its device, or of NumPy, which is quicker with a few numbers, where that is the CPU."""

_BINS = 64
# Of so many values the share in a bin is known to 0.002 (one standard error at most), finer than a bar is drawn.
_MAX_HISTOGRAM = 1 << 16
# Elements that are looked at together: half precision is widened in pieces of this size, and threads share them.
_PIECE = 1 << 20
# Columns that stay together however many rows there are: memory is read in stretches.
_LEAST_WIDTH = 512
# Pieces from which other threads help, and before which compiled loops take all at once. Torch's own threads stay awake
# for a while after each operation, and where they hold every core, a thread that has to start beside them costs more
# than a few milliseconds of work would save.
_SHARED = 16
_COMPILED = (torch.float32, torch.float64)


def real_values(values: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts of complex numbers; integers and booleans as float32."""
    if values.layout != torch.strided:
        values = values.to_dense()
    if values.is_quantized:
        values = values.dequantize()
    if values.is_complex():
        return torch.view_as_real(values.resolve_conj())
    return values if values.is_floating_point() else values.float()


def wide_dtype(device: torch.device) -> torch.dtype:
    """What sums are carried in: Apple's devices have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def as_rows(values: torch.Tensor, *, axis: int | None) -> torch.Tensor:
    """Samples by features, in the order of memory, so that nothing is copied; without samples, rows of any kind."""
    if axis is None and values.is_contiguous():
        return _as_any_rows(values)
    if axis == 0 and values.is_contiguous():
        return values if values.dim() == 2 else values.reshape(values.shape[0], -1)
    strides = values.stride()
    values = values.permute(sorted(range(values.dim()), key=lambda i: (i != axis, -strides[i])))
    if axis is not None:
        return values.reshape(values.shape[0], -1)
    return _as_any_rows(values)


def _as_any_rows(values: torch.Tensor) -> torch.Tensor:
    size = values.numel()
    return values.reshape(next((rows for rows in (64, 32, 16, 8, 4, 3, 2) if size % rows == 0), 1), -1)


def reduced(rows: torch.Tensor, *, sample: torch.Tensor | None = None) -> Row:
    """(nonfinite, mean, squares, within, between, minimum, maximum) of samples by features; see `Moments`."""
    if rows.device.type != "cpu":
        # To look at a number would mean to wait for the device, so the careful way is always taken.
        return _filled_sums(rows)
    row = _sums(rows, sample=sample)
    # NaN and infinity are rare: only where the sums have met one is it worth looking for them.
    return row if math.isfinite(row[2]) else _filled_sums(rows)


def reduced_and_counted(rows: torch.Tensor) -> Row:
    """`reduced`, then `histogram_of`; where values are few among many, they are taken while the sums read them all."""
    step = _step(rows.numel())
    on_host = rows.device.type == "cpu"
    sample = rows.new_empty(-(-rows.numel() // step)) if step > 1 and on_host and _is_compiled(rows) else None
    row = reduced(rows, sample=sample)
    counts: Any = histogram_of(rows if sample is None else sample, low=row[5], high=row[6])
    return torch.cat([row, counts]) if isinstance(row, torch.Tensor) else np.concatenate([row, counts])


def _filled_sums(rows: torch.Tensor) -> Row:
    """Sums with the finite mean in place of whatever is not finite, which leaves mean and squares as they are."""
    finite = rows.isfinite()
    count = finite.sum()
    mean = rows.to(wide_dtype(rows.device)).where(finite, 0).sum() / count.clamp(min=1)
    row = _sums(rows.where(finite, mean.to(rows.dtype)))
    row[0] = rows.numel() - count
    return row


def _sums(rows: torch.Tensor, *, sample: torch.Tensor | None = None) -> Row:
    """Sums of pieces of columns, joined; the pieces are the same for any number of threads, so the numbers are, too."""
    on_host = rows.device.type == "cpu"
    num_rows, num_columns = rows.shape
    width = max(_LEAST_WIDTH, (_PIECE if on_host else _PIECE << 5) // num_rows)
    sums: Any = partial(_host_sums, rows, sample=sample) if on_host else partial(_device_sums, rows)
    if num_columns <= width or (rows.numel() < _SHARED * _PIECE and on_host and _is_compiled(rows)):
        return sums(0, num_columns)  # type: ignore[no-any-return]
    starts = range(0, num_columns, width)
    ends = [min(start + width, num_columns) for start in starts]
    threads = torch.get_num_threads() if on_host and len(starts) >= _SHARED else 1
    table = shared_out(lambda piece: sums(*piece), list(zip(starts, ends, strict=True)), threads=threads)
    if not on_host:
        widths = torch.tensor(ends, dtype=table[0].dtype, device=rows.device)
        return _joined(torch.stack(table), widths=widths.diff(prepend=widths.new_zeros(1)), num_rows=num_rows)
    with np.errstate(all="ignore"):  # NumPy warns of infinity.
        return _joined(np.stack(table), widths=np.diff(ends, prepend=0), num_rows=num_rows)


def _is_compiled(rows: torch.Tensor) -> bool:
    return rows.dtype in _COMPILED and rows.is_contiguous()


def _host_sums(
    rows: torch.Tensor, begin: int = 0, end: int | None = None, *, sample: torch.Tensor | None = None
) -> np.ndarray:
    """Sums of these columns; what of them belongs into the sample is put there."""
    end = rows.shape[1] if end is None else end
    if not _is_compiled(rows):
        piece = rows[:, begin:end]
        rows = (piece if rows.dtype in _COMPILED else piece.float()).contiguous()
        begin, end = 0, end - begin
    values = rows.numpy()
    if sample is None:
        return row_sums(values, begin, end, values[0, :0], 0)
    return row_sums(values, begin, end, sample.numpy(), _step(values.size))


def _device_sums(rows: torch.Tensor, begin: int = 0, end: int | None = None) -> torch.Tensor:
    rows = rows[:, begin:end].to(wide_dtype(rows.device))
    first = rows[0]
    shifted = rows - first
    drift = shifted.mean(0)
    within = shifted.sub_(drift).square_().sum()
    means = first + drift
    mean = means.mean()
    squares = within + len(rows) * (means - mean).square().sum()
    between = len(rows) * means.square().sum()
    return torch.stack([torch.zeros_like(mean), mean, squares, within, between, rows.amin(), rows.amax()])


def _joined(table: Row, *, widths: Any, num_rows: int) -> Row:
    """The sums of pieces that lie side by side, one piece a row; tensors or arrays."""
    mean = table[:, 1] @ widths / widths.sum()
    spread = num_rows * ((table[:, 1] - mean) ** 2 @ widths)
    row = table.sum(0)
    row[1], row[2] = mean, row[2] + spread
    row[5], row[6] = table[:, 5].min(), table[:, 6].max()
    return row


def histogram_edges(low: float, high: float) -> tuple[float, float]:
    """First and last edge: a constant sits in the middle of a bin of width one."""
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _step(size: int) -> int:
    """Every so-many-th value is in a histogram."""
    return -(-size // _MAX_HISTOGRAM)


def histogram_of(rows: torch.Tensor, *, low: Any, high: Any) -> Row:
    """Counts in equal bins from `low` to `high`; of every k-th value where there are very many."""
    sample = rows.reshape(-1)[:: _step(rows.numel())]
    if rows.device.type == "cpu":
        sample = sample if sample.dtype in (torch.float32, torch.float64) else sample.float()
        return bin_counts(sample.numpy(), *histogram_edges(float(low), float(high)), _BINS)
    width = torch.where(high > low, high - low, torch.ones_like(low))
    start = torch.where(high > low, low, low - 0.5)
    finite = sample.isfinite()
    place = ((sample.to(low.dtype) - start) * (_BINS / width)).where(finite, 0).clamp(0, _BINS - 1).long()
    return torch.zeros(_BINS, dtype=low.dtype, device=low.device).scatter_add_(0, place, finite.to(low.dtype))
