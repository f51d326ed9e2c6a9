"""Exact sums of many columns at once, as arrays of digits: what the compiled loops add to, and threads merge."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from threading import Lock
from typing import Any, Self

import numpy as np

from onesigma.numbers.digits import State, add_digits, add_integers, add_lanes, carry, digits_value
from onesigma.numbers.kernel import LANES, PADDING, REACH, ROWS, STEP, TILE, Array
from onesigma.numbers.lanes import Lanes, empty, new_lanes, settle
from onesigma.numbers.scans import beside, clean, scan_doubles
from onesigma.numbers.sweep import sweep
from onesigma.numbers.tensors import num_threads
from onesigma.numbers.threads import shared_out

__all__ = ["Layout", "Tally"]

_PIECE, _LEAST = 1 << 22, 1 << 21  # most and fewest values per job of a thread
_PATIENCE = 8  # blocks that go the hard way at once after one that mostly did
_ARRAYS = ("finite", "nonfinite", "low", "high", "total", "squares")
_DEEP = 128  # rows that a narrow table is left with at least when several are read in a line


@dataclass(frozen=True, slots=True)
class Layout:
    """How the digits of one type of column stand.

    Attributes:
        name: Type of the values.
        bases: Power of two of the first digit of a sum, and of a sum of squares.
        words: Number of digits of a sum, and of a sum of squares: room for the type's range and 2^40 rows.
        spreads: Spread of exponents that a scan holds, and that one of the same values as doubles does.
        smallest: Exponent of the smallest normal number.
        bias: What was subtracted from every value.
    """

    name: str
    bases: tuple[int, int]
    words: tuple[int, int]
    spreads: tuple[int, int] = (0, 0)
    smallest: int = 0
    bias: int = 0


_FLOATS = Layout("float32", bases=(-224, -432), words=(14, 25), spreads=(19, 63), smallest=-126)
_DOUBLES = Layout("float64", bases=(-1120, -2240), words=(71, 138), spreads=(34, 34), smallest=-1022)
_INTEGERS = Layout("int64", bases=(0, 0), words=(6, 8))
_UNSIGNED = Layout("uint64", bases=(0, 0), words=(6, 8), bias=1 << 63)


class Tally:
    """Counts, bounds and digits of columns of one layout.

    Attributes:
        layout: See `Layout`.
        finite: Finite values per column.
        nonfinite: NaN, +inf and −inf per column, shape (columns, 3).
        low: Minimum per column, as doubles or as int64 less the bias.
        high: Maximum.
        total: Digits of the sum, shape (columns, words).
        squares: Digits of the sum of squares.

    Example:
        >>> tally = Tally.of([np.array([[1.0, 2.0], [3.0, np.nan]])])
        >>> tally.finite.tolist(), tally.sum_of(0), tally.squares_of(1)
        ([2, 1], Fraction(4, 1), Fraction(4, 1))
    """

    __slots__ = ("finite", "high", "layout", "low", "nonfinite", "squares", "total")

    def __init__(
        self, layout: Layout, *, finite: Array, nonfinite: Array, low: Array, high: Array, total: Array, squares: Array
    ) -> None:
        self.layout, self.finite, self.nonfinite = layout, finite, nonfinite
        self.low, self.high, self.total, self.squares = low, high, total, squares

    @classmethod
    def zero(cls, layout: Layout, columns: int) -> Self:
        """The tally of no rows."""
        floats = layout.smallest < 0
        ends = (np.inf, -np.inf) if floats else (np.iinfo(np.int64).max, np.iinfo(np.int64).min)
        low, high = (np.full(columns, end, np.float64 if floats else np.int64) for end in ends)
        total, squares = (np.zeros((columns, words), np.int64) for words in layout.words)
        finite, nonfinite = np.zeros(columns, np.int64), np.zeros((columns, 3), np.int64)
        return cls(layout, finite=finite, nonfinite=nonfinite, low=low, high=high, total=total, squares=squares)

    @classmethod
    def of(cls, tables: Sequence[Array]) -> Self:
        """The tally of tables beside one another, each of shape (rows, columns) and all of one dtype, on all threads.

        Threads are those of `num_threads()`; their number changes no bit.
        """
        tally = cls.zero(_layout_of(tables[0].dtype), sum(table.shape[1] for table in tables))
        values = sum(table.size for table in tables)
        threads = num_threads() if values >= 2 * _LEAST else 1
        jobs = list(_jobs(tally, tables, max(_LEAST, min(_PIECE, values // (2 * threads)))))
        shared_out(lambda job: job(), jobs, threads=threads)
        return tally

    def __getitem__(self, columns: slice) -> Self:
        """The same tally of some columns: adding to it adds to this."""
        return type(self)(self.layout, **{name: getattr(self, name)[columns] for name in _ARRAYS})

    def merge(self, other: Self) -> Self:
        """The tally of both tables' rows."""
        both = type(self)(self.layout, **{name: getattr(self, name).copy() for name in _ARRAYS})
        both.add(other)
        return both

    def add(self, other: "Tally") -> None:
        """Merge another tally of the same layout into this one, in place."""
        self.finite += other.finite
        self.nonfinite += other.nonfinite
        np.minimum(self.low, other.low, out=self.low)
        np.maximum(self.high, other.high, out=self.high)
        add_digits(self.total, other.total)
        add_digits(self.squares, other.squares)

    @property
    def state(self) -> State:
        """What the compiled loops add to."""
        return State(self.low, self.high, self.nonfinite, self.total, self.squares, self.layout.bases)

    def sum_of(self, column: int) -> Fraction:
        """The exact sum of a column."""
        return digits_value(self.total[column], self.layout.bases[0]) + self._count(column) * self.layout.bias

    def squares_of(self, column: int) -> Fraction:
        """The exact sum of squares of a column: Σ(x − b)² + 2b·Σ(x − b) + n·b²."""
        bias = self.layout.bias
        biased = digits_value(self.squares[column], self.layout.bases[1])
        return (
            biased
            + 2 * bias * digits_value(self.total[column], self.layout.bases[0])
            + self._count(column) * bias * bias
        )

    def bounds_of(self, column: int) -> tuple[Fraction, Fraction] | tuple[None, None]:
        """Exact minimum and maximum of the finite values of a column."""
        if not self._count(column):
            return None, None
        low, high = (Fraction(ends[column].item()) + self.layout.bias for ends in (self.low, self.high))
        return low, high

    def _count(self, column: int) -> int:
        return int(self.finite[column])

    def _fill(self, tables: Sequence[tuple[Array, tuple[int, int]]]) -> None:
        """Add columns `lanes` of tables contiguous in rows: of one table all columns, or of several one each."""
        width = len(self.finite) // len(tables)
        if self.layout.smallest < 0:
            _add_floats(self, tables, width)
        for index, (table, lanes) in enumerate(tables):
            part = self[index * width : (index + 1) * width]
            part.finite += len(table)
            for view, _ in _views(table, lanes) if self.layout.smallest == 0 else ():
                add_integers(view, part.state)
        self.finite -= self.nonfinite.sum(axis=1)
        carry(self.total)
        carry(self.squares)


def _layout_of(dtype: np.dtype[Any]) -> Layout:
    if dtype.kind == "f":
        return _DOUBLES if dtype.itemsize == 8 else _FLOATS
    return _UNSIGNED if dtype == np.uint64 else _INTEGERS


def _jobs(tally: Tally, tables: Sequence[Array], piece: int) -> Iterator[Callable[[], None]]:
    """Pieces of tables, as calls that add them to the tally: tiles of columns, and of rows where they are many."""
    lock, first = Lock(), 0
    if len(tables) > 1 and all(table.shape[1] == 1 for table in tables) and max(map(len, tables)) <= piece:
        some = max(1, piece // max(1, *map(len, tables)))
        for start in range(0, len(tables), min(some, TILE)):
            chosen = tables[start : start + min(some, TILE)]
            yield partial(_fill_columns, tally[start : start + len(chosen)], chosen)
        return
    for table in tables:
        rows, columns = table.shape
        by_row = table.strides[1] == table.itemsize or rows < 8 * TILE
        tile = min(max(columns, 1), TILE) if by_row else 1
        for left in range(0, columns, tile):
            lanes = (left, min(left + tile, columns))
            target = tally[first + left : first + lanes[1]]
            if rows <= piece // tile:  # nobody else adds to these columns
                yield partial(_fill, target, [(table, lanes)])
                continue
            for start in range(0, rows, piece // tile):
                yield partial(_add_pieces, target, [(table[start : start + piece // tile], lanes)], lock)
        first += columns


def _add_pieces(target: Tally, pieces: Sequence[tuple[Array, tuple[int, int]]], lock: Lock) -> None:
    added = Tally.zero(target.layout, len(target.finite))
    _fill(added, pieces)
    with lock:  # the threads' order is their own; the sums are exact
        target.add(added)


def _fill_columns(target: Tally, columns: Sequence[Array]) -> None:
    """Add one column each: side by side where they are many, which costs a copy, or one after the other."""
    if len(columns) >= LANES and len({len(column) for column in columns}) == 1:
        _fill(target, [(_side_by_side(columns), (0, len(columns)))])
    else:
        _fill(target, [(column, (0, 1)) for column in columns])


def _side_by_side(columns: Sequence[Array]) -> Array:
    dtype, rows = columns[0].dtype, len(columns[0])
    apart = np.empty((len(columns), rows + PADDING), dtype)
    for index, column in enumerate(columns):
        apart[index, :rows] = column[:, 0]
    table = np.empty((rows, len(columns)), dtype)
    bits = f"u{dtype.itemsize}"  # one compiled loop for all types of a size
    beside(apart.view(bits), table.view(bits))
    return table


def _fill(target: Tally, pieces: Sequence[tuple[Array, tuple[int, int]]]) -> None:
    target._fill([_stored(table, lanes, target.layout) for table, lanes in pieces])


def _stored(table: Array, lanes: tuple[int, int], layout: Layout) -> tuple[Array, tuple[int, int]]:
    """Columns of a table as the compiled loops want them: contiguous in rows, of the type of the layout."""
    inner = (0, lanes[1] - lanes[0])
    if layout.bias:
        return (table[:, slice(*lanes)] ^ np.uint64(layout.bias)).view(np.int64), inner
    stored = "float32" if table.dtype == np.float16 else layout.name
    whole = lanes == (0, table.shape[1])
    if table.dtype == stored and table.flags.c_contiguous and (whole or layout.smallest < 0):
        return table, lanes  # scans of floats take some of the columns, those of integers all
    with np.errstate(invalid="ignore"):
        return np.ascontiguousarray(table[:, slice(*lanes)], dtype=stored), inner


def _views(table: Array, lanes: tuple[int, int]) -> Iterator[tuple[Array, tuple[int, int]]]:
    """The table, or, where it is narrow, the same memory with several rows in a line: most of it, then the rest."""
    columns = table.shape[1]
    group = min(LANES // max(columns, 1), len(table) // _DEEP)
    if lanes != (0, columns) or group < 2:
        yield table[:], lanes
        return
    lines = len(table) // group
    yield table[: lines * group].reshape(lines, group * columns), (0, group * columns)
    if lines * group < len(table):
        yield table[lines * group :], lanes


def _add_floats(tally: Tally, tables: Sequence[tuple[Array, tuple[int, int]]], width: int) -> None:
    """Sweep down each table, on the grids of the one before; blocks that fit none of two limbs go the hard way."""
    works: dict[int, Lanes] = {}
    limits = tally.layout.spreads[0], tally.layout.smallest
    for index, (table, lanes) in enumerate(tables):
        for view, part in _views(table, lanes):
            size = part[1] - part[0]
            if size not in works:
                works[size] = new_lanes(np.empty(size, np.int64), limits=limits)
            work = works[size]
            work.column[:] = np.arange(size) % width + index * width
            _sweep_view(tally, view, part, work)
            empty(work, tally.state, bounds=True)


def _sweep_view(tally: Tally, view: Array, part: tuple[int, int], work: Lanes) -> None:
    layout, state = tally.layout, tally.state
    limits, start = (layout.spreads[0], layout.smallest), 0
    view.flags.writeable = False  # one compiled loop does for Arrow's memory and all other
    pending, bounds = np.empty(work.column.size, np.bool_), np.empty_like(work.bounds, dtype=view.dtype)
    with np.errstate(invalid="ignore"):  # signaling NaNs
        while (start := sweep(view, start, part, work, bounds, pending, limits, state)) >= 0:
            mostly = 2 * np.count_nonzero(pending) > pending.size
            for _ in range(_PATIENCE if mostly and start else 1):
                start = _add_hard_rows(tally, view, (start, part), work.column, pending)
                pending[:] = True


def _add_hard_rows(tally: Tally, view: Array, place: tuple[int, tuple[int, int]], column: Array, pending: Array) -> int:
    """Add the pending lanes of the block that begins at a place, and all of its last rows; return where it ends."""
    start, part = place
    stop = min(start + ROWS, len(view))
    whole = stop - (stop - start) % STEP
    chosen = np.flatnonzero(pending)
    if whole > start:
        block = view[start:whole, slice(*part)]
        block = block if chosen.size == pending.size else np.take(block, chosen, axis=1)
        _add_hard_block(tally, block, column[chosen])
    if whole < stop:
        add_lanes(view[whole:stop], part[0], np.ones(column.size, np.bool_), column, tally.state)
    return stop


def _add_hard_block(tally: Tally, block: Array, column: Array) -> None:
    """Add lanes of any values: the finite ones as doubles, scaled by powers of two, or bit by bit."""
    height, lanes = block.shape
    layout, state = tally.layout, tally.state
    scratch = np.zeros((height + -height % STEP, lanes))
    with np.errstate(invalid="ignore"):  # signaling NaNs turn into quiet ones
        scratch[:height] = block
    ends, counts = np.full((3, lanes + PADDING), np.inf), np.zeros((3, lanes + PADDING), np.int64)
    ends[1] = -np.inf
    clean(scratch[:height], ends, counts)
    low, high, least = ends[:, :lanes]
    np.add.at(tally.nonfinite, column, counts[:, :lanes].T)
    np.minimum.at(tally.low, column, low)
    np.maximum.at(tally.high, column, high)
    limits = layout.spreads[1], layout.smallest
    grid, shift = _tame(tally, scratch, column, np.maximum(-low, high), least)
    work = new_lanes(column, limits=limits, grid=grid, shift=shift)
    pending = np.ones(lanes, np.bool_)
    scan_doubles(scratch, (0, len(scratch)), (0, lanes), work.sigma, work.bounds, work.sums)
    left = settle(work, pending, limits, state)
    assert left == 0  # the grid is that of the bounds
    empty(work, state, bounds=False)


def _tame(tally: Tally, scratch: Array, column: Array, top: Array, least: Array) -> tuple[Array, Array]:
    """Bring lanes within reach of four limbs, and return their grid and shift.

    Those of too wide a spread are added bit by bit, and zeroed; far ones are scaled by 2^−shift.
    """
    layout = tally.layout
    some = (top > 0) & np.isfinite(top)
    highest, lowest = (np.maximum(np.frexp(np.where(some, end, 1.0))[1] - 1, layout.smallest) for end in (top, least))
    wide = highest - lowest > layout.spreads[1]
    if wide.any():
        unused = np.empty(len(tally.finite))  # the bounds are known, and these lanes may hold zeros for NaN
        add_lanes(scratch, 0, wide, column, tally.state._replace(low=unused, high=unused.copy()))
        scratch[:, wide] = 0.0
    grid = np.where(wide, 0, highest).astype(np.int64)
    shift = np.where(np.abs(grid) < REACH, 0, np.clip(grid, -1000, 1000))
    if shift.any():
        scratch *= np.ldexp(1.0, -shift)
    return grid - shift, shift
