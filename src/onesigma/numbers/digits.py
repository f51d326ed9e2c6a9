"""Compiled arithmetic on digits: 64-bit integers of weight 2^(32·i + base), with room to add before they carry."""

import math
from fractions import Fraction

import numpy as np

from onesigma.numbers.kernel import FAILED, PADDING, RETRY, SETTLED, SUMS, Array, compiled

__all__ = ["add_bits", "add_integers", "carry", "deposit", "digits_value", "settle"]

_LOW = np.int64(0xFFFFFFFF)
_REACH = 380


def digits_value(digits: Array, base: int) -> Fraction:
    """The exact number that digits of weight 2^(32·i + base) stand for, after `carry`.

    Example:
        >>> digits_value(np.array([1, 2, 0]), -32)
        Fraction(8589934593, 4294967296)
    """
    lower, top = digits[:-1].astype("<u4").tobytes(), int(digits[-1])
    integer = int.from_bytes(lower, "little") + (top << 8 * len(lower))
    zeros = (integer & -integer).bit_length() - 1 if integer else 0
    power = zeros + base
    return Fraction((integer >> zeros) << max(power, 0), 1 << max(-power, 0))


@compiled
def deposit(digits: Array, place: int, integer: int) -> None:
    """Add integer · 2^place to digits of weight 2^(32·i); |integer| ≤ 2^62."""
    word, shift = place >> 5, place & 31
    low = (integer & _LOW) << shift
    high = (integer >> 32) << shift
    digits[word] += low & _LOW
    digits[word + 1] += ((low >> 32) & _LOW) + (high & _LOW)
    digits[word + 2] += high >> 32


@compiled
def carry(digits: Array) -> None:
    """Bring all digits but the last of each row into 0 … 2^32 − 1: equal sums, equal digits."""
    for row in digits:
        for i in range(row.size - 1):
            row[i + 1] += row[i] >> 32
            row[i] &= _LOW


@compiled
def add_bits(values: Array, total: Array, squares: Array, bases: tuple[int, int]) -> None:
    """Add finite doubles and their squares to the digits of one column, one by one, whatever their exponents."""
    for value in values:
        mantissa, exponent = math.frexp(abs(value))
        beyond = max(0, -1074 - (exponent - 53))  # zeros after a subnormal, whose last bit is at 2^−1074
        integer, place = int(mantissa * 2.0**53) >> beyond, exponent - 53 + beyond
        low, high = integer & 0x7FFFFFF, integer >> 27
        if integer != 0:
            deposit(squares, 2 * place - bases[1], low * low)
            deposit(squares, 2 * place + 28 - bases[1], low * high)
            deposit(squares, 2 * place + 54 - bases[1], high * high)
            deposit(total, place - bases[0], -integer if value < 0 else integer)


@compiled
def add_integers(table: Array, low: Array, high: Array, total: Array, squares: Array) -> None:
    """Add a table of at most 2^30 rows of int64, in 32-bit halves; lanes and state as in `settle`, digits from 2^0."""
    lanes, columns = table.shape[1], total.shape[0]
    sums = np.zeros((8, lanes + PADDING), np.int64)
    x_low, x_high, ll_low, ll_high = sums[0], sums[1], sums[2], sums[3]
    lh_low, lh_high, hh_low, hh_high = sums[4], sums[5], sums[6], sums[7]
    least, most = np.full(lanes, np.iinfo(np.int64).max), np.full(lanes, np.iinfo(np.int64).min)
    for row in table:
        for j in range(lanes):
            x = row[j]
            least[j], most[j] = min(x, least[j]), max(x, most[j])
            lower, upper = x & _LOW, x >> 32
            x_low[j] += lower
            x_high[j] += upper
            square = np.uint64(lower) * np.uint64(lower)
            ll_low[j] += np.int64(square & np.uint64(_LOW))
            ll_high[j] += np.int64(square >> np.uint64(32))
            cross = lower * upper
            lh_low[j] += cross & _LOW
            lh_high[j] += cross >> 32
            above = upper * upper
            hh_low[j] += above & _LOW
            hh_high[j] += above >> 32
    for j in range(lanes):
        c = j % columns
        low[c], high[c] = min(low[c], least[j]), max(high[c], most[j])
        for k, place in enumerate((0, 32)):
            deposit(total[c], place, sums[k, j])
        for k, place in enumerate((0, 32, 33, 65, 64, 96)):
            deposit(squares[c], place, sums[2 + k, j])


@compiled
def _exponent(value: float, smallest: int) -> int:
    """The largest E ≥ smallest with value ≥ 2^E, of a positive number."""
    return max(math.frexp(value)[1] - 1, smallest)


@compiled
def _fit(bounds: Array, sums: Array, lanes: int, columns: int, limits: tuple[int, int], grid: Array) -> int:
    """Whether a scan on this grid was exact: SETTLED; RETRY, on the grid as it is now; or FAILED, as it will again."""
    answer = SETTLED
    for c in range(columns):
        low, high, least, finite = np.inf, -np.inf, np.inf, 0.0
        for j in range(c, lanes, columns):
            low, high = min(low, np.float64(bounds[0, j])), max(high, np.float64(bounds[1, j]))
            least = min(least, np.float64(bounds[2, j]))
            finite += sums[0, j] * 0.0  # NaN as soon as one value was NaN or infinite
        top = max(-low, high)
        if finite != 0.0 or top == np.inf:
            return FAILED
        if top > 0.0:
            spread, smallest = limits
            need, bottom = _exponent(top, smallest), _exponent(least, smallest)
            if need - bottom > spread or abs(need) > _REACH:  # beyond, products of limbs over- or underflow
                return FAILED
            if need > grid[c] or grid[c] - bottom > spread:
                grid[c] = need
                answer = RETRY
    return answer


@compiled
def _flush(
    sums: Array, lanes: int, grid: Array, shift: Array, total: Array, squares: Array, bases: tuple[int, int]
) -> None:
    columns = total.shape[0]
    for c in range(columns):
        for k in range(SUMS):
            unit = grid[c] - 42 - 44 * k if k < 2 else 2 * grid[c] - 40 - 22 * (k - 2)
            scale = math.ldexp(1.0, -unit)
            integer = 0
            for j in range(c, lanes, columns):
                integer += int(sums[k, j] * scale)
            if integer != 0 and k < 2:
                deposit(total[c], unit + shift[c] - bases[0], integer)
            elif integer != 0:
                twice = (k - 2) & 1  # ab, ad + bc and cd stand for two products each
                deposit(squares[c], unit + 2 * shift[c] + twice - bases[1], integer)


@compiled
def settle(
    bounds: Array,
    sums: Array,
    lanes: int,
    limits: tuple[int, int],
    sigma: Array,
    grid: Array,
    shift: Array,
    low: Array,
    high: Array,
    total: Array,
    squares: Array,
    bases: tuple[int, int],
) -> int:
    """Add what a scan found to the state of its columns, if the scan was exact.

    Args:
        bounds: Minimum, maximum and smallest size but zero of each lane; lane j holds column j % columns.
        sums: Of limbs, per lane.
        lanes: How many there are.
        limits: Spread of exponents that the limbs hold, and the smallest exponent of a normal number.
        sigma: Per lane; set to the grid.
        grid: Exponent E per column; raised or lowered where the scan asks for it.
        shift: The scan saw the true values times 2^−shift, per column.
        low: Smallest value per column, as scanned; lowered, as `high` is raised.
        total: Digits of the sum per column, of weight 2^(32·i + bases[0]); added to.
        squares: Digits of the sum of squares, of weight 2^(32·i + bases[1]); added to.
        bases: See `total` and `squares`.
    """
    columns = total.shape[0]
    answer = _fit(bounds, sums, lanes, columns, limits, grid)
    if answer == SETTLED:
        _flush(sums, lanes, grid, shift, total, squares, bases)
    for j in range(lanes):
        c = j % columns
        sigma[j] = math.ldexp(1.5, grid[c] + 32)
        if answer == SETTLED:
            low[c], high[c] = min(low[c], np.float64(bounds[0, j])), max(high[c], np.float64(bounds[1, j]))
    return answer
