"""Mean and variance of many columns from exact digits at once, in pairs of doubles: 106 bits, rounded at the end."""

from typing import TypeAlias

import numpy as np

from onesigma.numbers.kernel import Array
from onesigma.numbers.tally import Tally

__all__ = ["mean_and_variance"]

_Pair: TypeAlias = tuple[Array, Array]
"""high + low, exactly."""

# What is left of n·Σx² − (Σx)² where both are equal but for the rounding of pairs.
_ROUNDING = 2.0**-98


def mean_and_variance(tally: Tally, *, correction: int = 0) -> tuple[Array, Array]:
    """Mean Σx/n and variance (n·Σx² − (Σx)²) / (n·(n − correction)) of every column of a tally of float32 values.

    Both differ from the exact numbers by the rounding of one float64, at any mean that float32 can tell from its
    neighbors by 2⁻²⁴. NaN where a column has too few finite values.

    Example:
        >>> tally = Tally.of([np.array([[1.0], [2.0], [6.0]], np.float32) + np.float32(2**20)])
        >>> mean, variance = mean_and_variance(tally)
        >>> mean[0] - 2**20, variance[0] == 14 / 3
        (np.float64(3.0), np.True_)
    """
    count = tally.finite.astype(np.float64)
    total, squares = _pair(tally.total, tally.layout.bases[0]), _pair(tally.squares, tally.layout.bases[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _divided(total, count)
        scaled = _times(squares, count)
        spread, lost = _sum(scaled, _negative(_square(total)))
        spread = np.where(spread <= _ROUNDING * scaled[0], 0.0, spread + lost)
        return mean, spread / count / np.where(count > correction, count - correction, np.nan)


def _pair(digits: Array, base: int) -> _Pair:
    """Digits after `carry`, of weight 2^(32·i + base), from the highest down."""
    # Of a negative number the complement, whose leading digits are zero too: −x = ~x + 1 unit of the last place.
    negative = digits[:, -1] < 0
    digits = np.where(negative[:, None], ~digits, digits)
    digits[:, :-1] &= 0xFFFFFFFF
    high, low = np.zeros(len(digits)), np.ldexp(negative.astype(np.float64), base)
    for i in reversed(np.flatnonzero(digits.any(axis=0))):
        high, error = _two_sum(high, np.ldexp(digits[:, i].astype(np.float64), 32 * int(i) + base))
        low += error
    high, low = _two_sum(high, low)
    return np.where(negative, -high, high), np.where(negative, -low, low)


def _two_sum(a: Array, b: Array) -> _Pair:
    """a + b and its rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Array, b: Array) -> _Pair:
    """a·b and its rounding error (Dekker)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: Array) -> _Pair:
    """Two halves of 26 bits."""
    scaled = 134217729.0 * a
    high = scaled - (scaled - a)
    return high, a - high


def _times(pair: _Pair, factor: Array) -> _Pair:
    product, error = _two_product(pair[0], factor)
    return _two_sum(product, error + pair[1] * factor)


def _square(pair: _Pair) -> _Pair:
    product, error = _two_product(pair[0], pair[0])
    return _two_sum(product, error + 2 * pair[0] * pair[1])


def _sum(one: _Pair, other: _Pair) -> _Pair:
    high, error = _two_sum(one[0], other[0])
    low, rest = _two_sum(one[1], other[1])
    high, error = _two_sum(high, error + low)
    return _two_sum(high, error + rest)


def _negative(pair: _Pair) -> _Pair:
    return -pair[0], -pair[1]


def _divided(pair: _Pair, divisor: Array) -> Array:
    quotient = pair[0] / divisor
    product, error = _two_product(quotient, divisor)
    rest: Array = ((pair[0] - product) - error) + pair[1]
    return np.asarray(quotient + rest / divisor)
