"""Apply a map to the rows of an array, block by block in the cache, by several threads."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol, Self, TypeAlias, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from onesigma.numbers.tensors import num_threads
from onesigma.numbers.threads import shared_out

__all__ = ["RowMap", "any_infinity", "fits_compiled", "has_infinity", "map_blocks", "standardize_compiled"]

Array: TypeAlias = npt.NDArray[Any]
Direction: TypeAlias = Literal["forward", "backward"]
_T = TypeVar("_T")

_BLOCK = 1 << 16  # values per block: it stays in the second-level cache through all steps
_LARGE = 1 << 18  # values from which threads and compiled code cost less than they bring
_COMPILED = 1 << 15  # values per block from which compiled code, one second at its first use, is worth it
_LONG_ROW = 1 << 10  # values per row from which a loop over rows costs nothing beside the loop within


class RowMap(Protocol):
    """A map of rows that can be tiled to map several rows laid end to end."""

    def tiled(self, times: int) -> Self:
        """The map of `times` rows laid end to end."""

    def apply(self, direction: Direction, x: Array, out: Array) -> bool:
        """Write the map of `x`, or its inverse, to `out`; say whether the map met an infinity."""


def map_blocks(rows: RowMap, direction: Direction, *, x: Array, out: Array) -> bool:
    """Write `rows` of `x` (N, F) to `out`, which may be `x`; say whether the map met an infinity."""

    def run(task: tuple[RowMap, Array, Array]) -> bool:
        part, source, target = task
        return _apply_wide(part, direction, x=source, out=target)

    return _any_in_threads(run, list(_blocks(rows, x, out=out)), size=x.size)


def any_infinity(x: Array) -> bool:
    """Whether any value of `x` (N, F) is infinite, by several threads."""
    size = max(1, _BLOCK // max(x.shape[1], 1))
    return _any_in_threads(has_infinity, [x[start : start + size] for start in range(0, len(x), size)], size=x.size)


def _any_in_threads(run: Callable[[_T], bool], tasks: list[_T], *, size: int) -> bool:
    """Run every task, several at a time where that pays; whether any returned True."""

    def run_quietly(task: _T) -> bool:
        # A thread has its own error state; that a difference overflows is the result, not news.
        with np.errstate(all="ignore"):
            return run(task)

    return any(shared_out(run_quietly, tasks, threads=num_threads() if size >= _LARGE else 1))


def _apply_wide(rows: RowMap, direction: Direction, *, x: Array, out: Array) -> bool:
    """Halves go through float32, which rounds once more but does not overflow on the way."""
    if out.dtype.itemsize > 2:
        return rows.apply(direction, x, out)
    wide = x.astype(np.float32)
    infinite = rows.apply(direction, wide, wide)
    out[...] = wide
    return infinite


def _blocks(rows: RowMap, x: Array, *, out: Array) -> Iterator[tuple[RowMap, Array, Array]]:
    """Blocks of rows; in C order short rows are laid end to end, so that the inner loops are long."""
    num_rows, width = x.shape
    times = _LONG_ROW // max(width, 1)
    num_tiled = 0
    if x.size and 1 < times <= num_rows and x.flags.c_contiguous and out.flags.c_contiguous:
        num_tiled = num_rows - num_rows % times
        long_x, long_out = (array[:num_tiled].reshape(-1, times * width) for array in (x, out))
        yield from _row_blocks(rows.tiled(times), long_x, out=long_x if out is x else long_out)
    rest = x[num_tiled:]
    yield from _row_blocks(rows, rest, out=rest if out is x else out[num_tiled:])


def _row_blocks(rows: RowMap, x: Array, *, out: Array) -> Iterator[tuple[RowMap, Array, Array]]:
    size = max(1, _BLOCK // max(x.shape[1], 1))
    for start in range(0, len(x), size):
        source = x[start : start + size]
        yield rows, source, source if out is x else out[start : start + size]


def has_infinity(x: Array) -> bool:
    """Whether any value of a block is infinite."""
    if x.dtype.kind != "f":
        return False
    if fits_compiled(x, x):
        return bool(_any_infinity(x, x.dtype.type(np.inf)))
    return bool(np.isinf(x).any())


def fits_compiled(x: Array, out: Array) -> bool:
    """Whether compiled code is worth it: large blocks of floats or doubles in C order."""
    if x.size < _COMPILED or x.dtype != out.dtype or x.dtype.itemsize < 4 or x.dtype.kind != "f":
        return False
    return x.flags.c_contiguous and out.flags.c_contiguous


def standardize_compiled(x: Array, out: Array, *, parts: tuple[Array, Array, Array]) -> bool:
    """out ← ((x − shift) − shift_low) / scale in one pass, bit for bit as NumPy in three; whether x has infinities."""
    # In the dtype of x: compared with a double, floats would be widened, four at a time instead of eight.
    infinity = x.dtype.type(np.inf)
    return bool(_standardize_in_place(x, *parts, infinity) if out is x else _standardize(x, out, *parts, infinity))


# No `fastmath`: a division stays a division, and nothing is contracted to a fused multiply-add.
@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _standardize(x: Array, out: Array, shift: Array, shift_low: Array, scale: Array, infinity: Any) -> bool:
    infinite = False
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            infinite |= abs(x[i, j]) == infinity
            out[i, j] = ((x[i, j] - shift[j]) - shift_low[j]) / scale[j]
    return infinite


# The same with one array: where two may overlap, the compiler gives up vectorizing.
@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _standardize_in_place(x: Array, shift: Array, shift_low: Array, scale: Array, infinity: Any) -> bool:
    infinite = False
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            infinite |= abs(x[i, j]) == infinity
            x[i, j] = ((x[i, j] - shift[j]) - shift_low[j]) / scale[j]
    return infinite


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _any_infinity(x: Array, infinity: Any) -> bool:
    infinite = False
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            infinite |= abs(x[i, j]) == infinity
    return infinite
