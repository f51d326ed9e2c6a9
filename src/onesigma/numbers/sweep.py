"""From block to block down a table, in compiled code: scan, settle, scan again on a better grid; see `kernel`."""

from typing import Any

from numba import types
from numba.extending import overload

from onesigma.numbers.digits import State, add_lanes
from onesigma.numbers.kernel import ROWS, STEP, Array, compiled
from onesigma.numbers.lanes import Lanes, aim, settle
from onesigma.numbers.scans import scan_doubles, scan_floats

__all__ = ["FEW", "sweep"]

FEW = 32
"""Lanes that are added one by one sooner than as a block."""

_FIRST = 32  # rows that are scanned ahead, to aim the grids of the first block


def _scan(view: Any, rows: Any, part: Any, work: Any, bounds: Any) -> Any:
    """`scan_floats` or `scan_doubles` by the type of the view; the bounds of either end in `work`."""


@overload(_scan)  # type: ignore[untyped-decorator]  # numba has no types
def _scan_of(view: Any, rows: Any, part: Any, work: Any, bounds: Any) -> Any:
    if view.dtype == types.float32:

        def floats(view: Any, rows: Any, part: Any, work: Any, bounds: Any) -> Any:
            scan_floats(view, rows, part, work.sigma, bounds, work.sums)
            for k in range(len(bounds)):  # for whole arrays numba would also compile what may go wrong with shapes
                for j in range(work.column.size):
                    work.bounds[k, j] = bounds[k, j]

        return floats

    def doubles(view: Any, rows: Any, part: Any, work: Any, bounds: Any) -> Any:
        scan_doubles(view, rows, part, work.sigma, work.bounds, work.sums)

    return doubles


@compiled
def sweep(
    view: Array,
    start: int,
    part: tuple[int, int],
    work: Lanes,
    bounds: Array,
    pending: Array,
    limits: tuple[int, int],
    state: State,
) -> int:
    """Add `view[start:, part]`; return where the block begins of which more than `FEW` lanes are pending, or −1.

    Args:
        view: A table, contiguous in rows.
        start: The first row.
        part: First and last + 1 of its columns.
        work: A lane for each of these.
        bounds: Scratch, shaped as `work.bounds`, of the type of the view.
        pending: The lanes of that block which are left to add.
        limits: Spread of exponents that a scan holds, and the smallest exponent of a normal number.
        state: Where sums go.
    """
    ahead = min(_FIRST, len(view)) // STEP * STEP
    if start == 0 and ahead:
        _scan(view, (0, ahead), part, work, bounds)
        aim(work, limits)
    while start < len(view):
        stop = min(start + ROWS, len(view))
        whole = stop - (stop - start) % STEP
        pending[:] = whole > start
        left = pending.size if whole > start else 0
        for _ in range(2):
            if left:
                _scan(view, (start, whole), part, work, bounds)
                left = settle(work, pending, limits, state)
            if left * 8 <= pending.size:
                break
        if left > FEW:
            return start
        if left:
            add_lanes(view[start:whole], part[0], pending, work.column, state)
        if whole < stop:
            pending[:] = True
            add_lanes(view[whole:stop], part[0], pending, work.column, state)
        start = stop
    return -1
