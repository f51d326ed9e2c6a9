"""Mean and variance of many columns from exact digits at once, in pairs of doubles: 106 bits, rounded at the end."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np

from onesigma.numbers.kernel import Array, compiled
from onesigma.numbers.tally import Tally

__all__ = ["mean_and_variance"]

_F = TypeVar("_F", bound=Callable[..., Any])

_Pair: TypeAlias = tuple[float, float]
"""high + low, exactly."""

# What is left of n·Σx² − (Σx)² where both are equal but for the rounding of pairs.
_ROUNDING = 2.0**-98


def _compiled(function: _F) -> _F:
    """Nothing is fused or reordered: what rounding leaves is the very point."""
    return compiled(function, fastmath=())


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
    mean, variance = np.empty(len(tally.finite)), np.empty(len(tally.finite))
    _read(tally.finite, tally.total, tally.squares, tally.layout.bases, correction, mean, variance)
    return mean, variance


@_compiled
def _read(
    counts: Array,
    totals: Array,
    squares: Array,
    bases: tuple[int, int],
    correction: int,
    mean: Array,
    variance: Array,
) -> None:
    """Write mean and variance of every column."""
    for j in range(counts.size):
        count = float(counts[j])
        total, scaled = _pair(totals[j], bases[0]), _times(_pair(squares[j], bases[1]), count)
        high, low = _square(total)
        spread, lost = _sum(scaled, (-high, -low))
        spread = 0.0 if spread <= _ROUNDING * scaled[0] else spread + lost
        mean[j] = _divided(total, count)
        variance[j] = spread / count / (count - correction if count > correction else math.nan)


@_compiled
def _pair(digits: Array, base: int) -> _Pair:
    """Digits after `carry`, of weight 2^(32·i + base), from the highest down."""
    # Of a negative number the complement, whose leading digits are zero too: −x = ~x + 1 unit of the last place.
    last = digits.size - 1
    negative = digits[last] < 0
    high, low = 0.0, math.ldexp(1.0, base) if negative else 0.0
    for i in range(last, -1, -1):
        digit = ~digits[i] if negative else digits[i]
        if i < last:
            digit &= 0xFFFFFFFF
        if digit:
            high, error = _two_sum(high, math.ldexp(float(digit), 32 * i + base))
            low += error
    high, low = _two_sum(high, low)
    return (-high, -low) if negative else (high, low)


@_compiled
def _two_sum(a: float, b: float) -> _Pair:
    """a + b and its rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@_compiled
def _two_product(a: float, b: float) -> _Pair:
    """a·b and its rounding error (Dekker)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@_compiled
def _split(a: float) -> _Pair:
    """Two halves of 26 bits."""
    scaled = 134217729.0 * a
    high = scaled - (scaled - a)
    return high, a - high


@_compiled
def _times(pair: _Pair, factor: float) -> _Pair:
    product, error = _two_product(pair[0], factor)
    return _two_sum(product, error + pair[1] * factor)


@_compiled
def _square(pair: _Pair) -> _Pair:
    product, error = _two_product(pair[0], pair[0])
    return _two_sum(product, error + 2 * pair[0] * pair[1])


@_compiled
def _sum(one: _Pair, other: _Pair) -> _Pair:
    high, error = _two_sum(one[0], other[0])
    low, rest = _two_sum(one[1], other[1])
    high, error = _two_sum(high, error + low)
    return _two_sum(high, error + rest)


@_compiled
def _divided(pair: _Pair, divisor: float) -> float:
    quotient = pair[0] / divisor
    product, error = _two_product(quotient, divisor)
    rest = ((pair[0] - product) - error) + pair[1]
    return quotient + rest / divisor
