"""Where the scans of one view of a table stand, lane by lane, until their sums go into digits; see `kernel`."""

import math
from typing import NamedTuple

import numpy as np

from onesigma.numbers.digits import State, deposit
from onesigma.numbers.kernel import PADDING, REACH, SUMS, Array, compiled

__all__ = ["Lanes", "aim", "empty", "new_lanes", "settle"]


class Lanes(NamedTuple):
    """Where scans of one view of a table stand, per lane.

    Attributes:
        column: Which column a lane holds.
        sigma: What cuts the first limb: 1.5·2^(E+32).
        grid: The exponent E.
        shift: The scans see the true values times 2^−shift.
        floor: The grid 2^E under which the limbs hold all that the type does, down to its last subnormal.
        bounds: Of the last scan: minimum, maximum and smallest size but zero.
        sums: Of the last scan: limbs, as doubles.
        pockets: Those of all scans on this grid, as integers in units of the limbs.
        ends: Minimum and maximum of all scans.
    """

    column: Array
    sigma: Array
    grid: Array
    shift: Array
    floor: Array
    bounds: Array
    sums: Array
    pockets: Array
    ends: Array


def new_lanes(
    column: Array, *, limits: tuple[int, int], grid: Array | None = None, shift: Array | None = None
) -> Lanes:
    """Lanes before their first scan; `limits` are those of `settle`."""
    count = column.size
    grid = np.zeros(count, np.int64) if grid is None else grid
    shift = np.zeros(count, np.int64) if shift is None else shift
    return Lanes(
        column=column,
        sigma=np.ldexp(1.5, grid + 32),
        grid=grid,
        shift=shift,
        floor=np.ldexp(1.0, limits[1] + limits[0] - shift),
        bounds=np.empty((3, count + PADDING)),
        sums=np.empty((SUMS, count + PADDING)),
        pockets=np.zeros((SUMS, count), np.int64),
        ends=np.repeat([[np.inf], [-np.inf]], count, axis=1),
    )


@compiled
def settle(lanes: Lanes, pending: Array, limits: tuple[int, int], state: State) -> int:
    """Keep what a scan found in the pending lanes where it was exact; return how many still are.

    The others' grids are set to what they need, if that is within reach.

    Args:
        lanes: After a scan.
        pending: Which of them have not been kept; cleared where they are.
        limits: Spread of exponents that the limbs hold, and the smallest exponent of a normal number.
        state: Where the sums so far go of a lane whose grid changes.
    """
    bounds, sums, ends, pockets = lanes.bounds, lanes.sums, lanes.ends, lanes.pockets
    count, reach = pending.size, math.ldexp(1.0, limits[0])
    kept, inverse = np.empty(count, np.bool_), np.empty(count)
    for j in range(count):
        low, high, least = bounds[0, j], bounds[1, j], bounds[2, j]
        size = lanes.sigma[j] / (1.5 * 2.0**32)
        fits = (max(-low, high) < 2.0 * size) & ((least * reach >= size) | (size <= lanes.floor[j]))
        kept[j] = pending[j] & fits & (sums[0, j] * 0.0 == 0.0)  # that is NaN as soon as one value was not finite
        inverse[j] = 1.0 / size
        ends[0, j] = min(ends[0, j], low if kept[j] else np.inf)
        ends[1, j] = max(ends[1, j], high if kept[j] else -np.inf)
    for k in range(SUMS):
        finest = 2.0 ** (42 + 44 * k) if k < 2 else 2.0 ** (22 * k - 4)
        for j in range(count):
            unit = inverse[j] * finest if k < 2 else inverse[j] * inverse[j] * finest
            pockets[k, j] += int(sums[k, j] * unit) if kept[j] else 0
    left, bits = 0, bounds.view(np.int64)
    for j in range(count):
        pending[j] &= not kept[j]
        if pending[j]:
            left += 1
            grid = _wanted(lanes, bits, j, limits)
            if grid != lanes.grid[j]:
                _deposit_pocket(lanes, j, state)
                _set_grid(lanes, j, grid)
    return left


@compiled
def aim(lanes: Lanes, limits: tuple[int, int]) -> None:
    """Set the grids of lanes that hold nothing yet to what a scan of the first rows asks for; `limits` as `settle`."""
    bits = lanes.bounds.view(np.int64)
    for j in range(lanes.column.size):
        _set_grid(lanes, j, _wanted(lanes, bits, j, limits))


@compiled
def _wanted(lanes: Lanes, bits: Array, j: int, limits: tuple[int, int]) -> int:
    """The grid that a lane's last scan asks for, if that is within reach; else the one it has."""
    low, high = lanes.bounds[0, j], lanes.bounds[1, j]
    top = max(-low, high)
    spread, smallest = limits[0], limits[1] - lanes.shift[j]
    need = max(_exponent(bits[1, j] if high > -low else bits[0, j]), smallest)
    bottom = max(_exponent(bits[2, j]), smallest)
    within = (0.0 < top < np.inf) & (abs(need) < REACH) & (need - bottom <= spread)
    return int(min(need + 1, bottom + spread)) if within else int(lanes.grid[j])  # one more, for the next block


@compiled
def _exponent(bits: int) -> int:
    """E of a double 2^E · 1.…, from its bits (`frexp` is a call); −1023 of all subnormal ones."""
    return ((bits >> 52) & 0x7FF) - 1023


@compiled
def _set_grid(lanes: Lanes, j: int, grid: int) -> None:
    lanes.grid[j] = grid
    lanes.sigma.view(np.int64)[j] = ((grid + 32 + 1023) << 52) | (1 << 51)  # 1.5 · 2^(grid + 32)


@compiled
def _deposit_pocket(lanes: Lanes, j: int, state: State) -> None:
    c, grid, shift = lanes.column[j], lanes.grid[j], lanes.shift[j]
    for k in range(SUMS):
        integer = lanes.pockets[k, j]
        lanes.pockets[k, j] = 0
        if integer != 0 and k < 2:
            deposit(state.total[c], grid - 42 - 44 * k + shift - state.bases[0], integer)
        elif integer != 0:
            twice = k & 1  # ab, ad + bc and cd stand for two products each
            deposit(state.squares[c], 2 * (grid + shift) + 4 - 22 * k + twice - state.bases[1], integer)


@compiled
def empty(lanes: Lanes, state: State, *, bounds: bool) -> None:
    """Move all sums so far into the columns' digits, and the bounds, where they are those of the true values."""
    for j in range(lanes.column.size):
        _deposit_pocket(lanes, j, state)
        c = lanes.column[j]
        if bounds:
            state.low[c] = min(state.low[c], lanes.ends[0, j])
            state.high[c] = max(state.high[c], lanes.ends[1, j])
        lanes.ends[0, j], lanes.ends[1, j] = np.inf, -np.inf
