"""Exact sums of many columns at once, as arrays of digits: what the compiled loops add to, and threads merge."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import Any, Self

import numpy as np
import torch

from onesigma.numbers.digits import State, add_integers, add_lanes, carry, digits_value
from onesigma.numbers.kernel import LANES, PADDING, REACH, ROWS, STEP, Array
from onesigma.numbers.lanes import Lanes, empty, new_lanes, settle
from onesigma.numbers.scans import clean, scan_doubles, scan_floats

__all__ = ["Layout", "Tally"]

_PIECE, _LEAST = 1 << 22, 1 << 19  # most and fewest values per job of a thread
_FIRST = 32  # rows of the first block, which is scanned twice: it sets the grids
_PATIENCE = 8  # blocks that go the hard way at once after one that mostly did
_FEW = 32  # lanes that are added one by one sooner than as a block


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

        Threads are those of `torch.get_num_threads()`; their number changes no bit.
        """
        tally = cls.zero(_layout_of(tables[0].dtype), sum(table.shape[1] for table in tables))
        values = sum(table.size for table in tables)
        threads = torch.get_num_threads() if values >= 2 * _LEAST else 1
        jobs = list(_jobs(tally, tables, max(_LEAST, min(_PIECE, values // (2 * threads)))))
        if threads == 1 or len(jobs) == 1:
            for job in jobs:
                job()
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda job: job(), jobs))
        return tally

    def __getitem__(self, columns: slice) -> Self:
        """The same tally of some columns: adding to it adds to this."""
        names = ("finite", "nonfinite", "low", "high", "total", "squares")
        return type(self)(self.layout, **{name: getattr(self, name)[columns] for name in names})

    def merge(self, other: Self) -> Self:
        """The tally of both tables' rows."""
        both = self.zero(self.layout, len(self.finite))
        both.add(self)
        both.add(other)
        return both

    def add(self, other: "Tally") -> None:
        """Merge another tally of the same layout into this one, in place."""
        self.finite += other.finite
        self.nonfinite += other.nonfinite
        np.minimum(self.low, other.low, out=self.low)
        np.maximum(self.high, other.high, out=self.high)
        self.total += other.total
        self.squares += other.squares
        carry(self.total)
        carry(self.squares)

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

    def _fill(self, table: Array, lanes: tuple[int, int]) -> None:
        """Add the columns `lanes` of a table contiguous in rows."""
        self.finite += len(table)
        if self.layout.smallest < 0:
            _add_floats(self, table, lanes)
            self.finite -= self.nonfinite.sum(axis=1)
        else:
            for view, _ in _views(table, lanes):
                add_integers(view, self.state)
        carry(self.total)
        carry(self.squares)


def _layout_of(dtype: np.dtype[Any]) -> Layout:
    if dtype.kind == "f":
        return _DOUBLES if dtype.itemsize == 8 else _FLOATS
    return _UNSIGNED if dtype == np.uint64 else _INTEGERS


def _jobs(tally: Tally, tables: Sequence[Array], piece: int) -> Iterator[Callable[[], None]]:
    """Pieces of tables, as calls that add them to the tally: tiles of columns, and of rows where they are many."""
    lock, first = Lock(), 0
    for table in tables:
        rows, columns = table.shape
        by_row = table.strides[1] == table.itemsize or rows < 8 * LANES
        tile = min(max(columns, 1), LANES) if by_row else 1
        for left in range(0, columns, tile):
            lanes = (left, min(left + tile, columns))
            target = tally[first + left : first + lanes[1]]
            for start in range(0, rows, piece // tile):
                yield partial(_add_piece, target, table[start : start + piece // tile], lanes, lock)
        first += columns


def _add_piece(target: Tally, table: Array, lanes: tuple[int, int], lock: Lock) -> None:
    stored = "float32" if table.dtype == np.float16 else target.layout.name
    if target.layout.bias:
        table, lanes = (
            (table[:, slice(*lanes)] ^ np.uint64(target.layout.bias)).view(np.int64),
            (0, lanes[1] - lanes[0]),
        )
    elif table.dtype != stored or not table.flags.c_contiguous:
        with np.errstate(invalid="ignore"):
            table, lanes = np.ascontiguousarray(table[:, slice(*lanes)], dtype=stored), (0, lanes[1] - lanes[0])
    piece = Tally.zero(target.layout, lanes[1] - lanes[0])
    piece._fill(table, lanes)
    with lock:  # the threads' order is their own; the sums are exact
        target.add(piece)


def _views(table: Array, lanes: tuple[int, int]) -> Iterator[tuple[Array, tuple[int, int]]]:
    """The table, or, where it is narrow, the same memory with several rows in a line: most of it, then the rest."""
    columns = table.shape[1]
    if lanes != (0, columns) or 2 * columns > LANES:
        yield table, lanes
        return
    while len(table):
        group = max(1, min(LANES // columns, len(table) // STEP))
        lines = len(table) // group
        yield table[: lines * group].reshape(lines, group * columns), (0, group * columns)
        table = table[lines * group :]


def _add_floats(tally: Tally, table: Array, lanes: tuple[int, int]) -> None:
    """Scan block by block on the last block's grid, again on its own where that fails, and the rest the hard way."""
    layout, state = tally.layout, tally.state
    limits, hard = (layout.spreads[0], layout.smallest), 0
    for view, part in _views(table, lanes):
        column = np.arange(part[1] - part[0]) % len(tally.finite)
        work = new_lanes(column, limits=limits)
        for start, stop in pairwise([0, *range(min(_FIRST, len(view)), len(view), ROWS), len(view)]):
            whole = stop - (stop - start) % STEP
            pending = np.full(column.size, whole > start)
            hard = hard - 1 if hard else 0
            if whole > start and not hard:
                _scan_twice(view, (start, whole), part, work, pending, limits, state)
            chosen = np.flatnonzero(pending)
            if chosen.size > _FEW:
                hard = hard or (_PATIENCE if 2 * chosen.size > pending.size and whole - start == ROWS else 0)
                block = view[start:whole, slice(*part)]
                block = block if chosen.size == pending.size else np.take(block, chosen, axis=1)
                _add_hard_block(tally, block, column[chosen])
            elif chosen.size:
                add_lanes(view[start:whole], part[0] + chosen, column[chosen], state)
            if whole < stop:
                add_lanes(view[whole:stop], np.arange(*part), column, state)
        empty(work, state, bounds=True)


def _scan_twice(
    view: Array,
    rows: tuple[int, int],
    part: tuple[int, int],
    work: Lanes,
    pending: Array,
    limits: tuple[int, int],
    state: State,
) -> None:
    """Settle the lanes of a block that hold on their grid or, if many do not, on the next."""
    scan, bounds = scan_doubles, work.bounds
    if view.dtype == np.float32:
        scan, bounds = scan_floats, np.empty((3, work.column.size + 2 * PADDING), np.float32)
    for _ in range(2):
        scan(view, rows, part, work.sigma, bounds, work.sums)
        with np.errstate(invalid="ignore"):  # signaling NaNs
            work.bounds[:] = bounds[:, : work.bounds.shape[1]]
        if settle(work, pending, limits, state) * 8 <= pending.size:
            return


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
    chosen = np.flatnonzero(wide)
    if chosen.size:
        unused = np.empty(len(tally.finite))  # the bounds are known, and these lanes may hold zeros for NaN
        add_lanes(scratch, chosen, column[chosen], tally.state._replace(low=unused, high=unused.copy()))
        scratch[:, chosen] = 0.0
    grid = np.where(wide, 0, highest).astype(np.int64)
    shift = np.where(np.abs(grid) < REACH, 0, np.clip(grid, -1000, 1000))
    if shift.any():
        scratch *= np.ldexp(1.0, -shift)
    return grid - shift, shift
