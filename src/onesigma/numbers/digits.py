"""Compiled arithmetic on digits: 64-bit integers of weight 2^(32·i + base), with room to add before they carry."""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from onesigma.numbers.kernel import PADDING, Array, compiled

__all__ = ["State", "add_digits", "add_integers", "add_lanes", "carry", "deposit", "digits_value"]

_LOW = np.int64(0xFFFFFFFF)


class State(NamedTuple):
    """What is known of each column.

    Attributes:
        low: Minimum of the finite values.
        high: Maximum.
        nonfinite: Counts of NaN, +inf and −inf, shape (columns, 3).
        total: Digits of the sum, of weight 2^(32·i + bases[0]), shape (columns, words).
        squares: Digits of the sum of squares, of weight 2^(32·i + bases[1]).
        bases: See there.
    """

    low: Array
    high: Array
    nonfinite: Array
    total: Array
    squares: Array
    bases: tuple[int, int]


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
def add_digits(digits: Array, others: Array) -> None:
    """Add others to digits, row by row, and `carry`, in one go through memory."""
    for c in range(len(digits)):
        over, last = 0, digits.shape[1] - 1
        for i in range(last):
            digit = digits[c, i] + others[c, i] + over
            digits[c, i] = digit & _LOW
            over = digit >> 32
        digits[c, last] += others[c, last] + over


@compiled
def _add_bits(value: float, total: Array, squares: Array, bases: tuple[int, int]) -> None:
    mantissa, exponent = math.frexp(abs(value))
    beyond = max(0, -1074 - (exponent - 53))  # zeros after a subnormal, whose last bit is at 2^−1074
    integer, place = int(mantissa * 2.0**53) >> beyond, exponent - 53 + beyond
    low, high = integer & 0x7FFFFFF, integer >> 27
    deposit(squares, 2 * place - bases[1], low * low)
    deposit(squares, 2 * place + 28 - bases[1], low * high)
    deposit(squares, 2 * place + 54 - bases[1], high * high)
    deposit(total, place - bases[0], -integer if value < 0 else integer)


@compiled
def add_lanes(table: Array, first: int, chosen: Array, column: Array, state: State) -> None:
    """Add the values `table[:, first + j]`, whatever they are, to column[j], one by one, for each j that is chosen."""
    for j in range(chosen.size):
        if chosen[j]:
            c = column[j]
            total, squares = state.total[c], state.squares[c]
            for i in range(table.shape[0]):
                x = np.float64(table[i, first + j])
                if abs(x) < np.inf:
                    state.low[c], state.high[c] = min(state.low[c], x), max(state.high[c], x)
                    if x != 0.0:
                        _add_bits(x, total, squares, state.bases)
                else:
                    state.nonfinite[c, 0 if x != x else 1 if x > 0 else 2] += 1


@compiled
def add_integers(table: Array, state: State) -> None:
    """Add a table of at most 2^30 rows of int64, in 32-bit halves; lane j holds column j % columns."""
    lanes, columns = table.shape[1], len(state.total)
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
        state.low[c], state.high[c] = min(state.low[c], least[j]), max(state.high[c], most[j])
        for k, place in enumerate((0, 32)):
            deposit(state.total[c], place, sums[k, j])
        for k, place in enumerate((0, 32, 33, 65, 64, 96)):
            deposit(state.squares[c], place, sums[2 + k, j])
