"""Compiled exact sums of w·x and w·x²: products of two and three doubles, in integers."""

import math

import numpy as np

from onesigma.numbers.digits import carry, deposit
from onesigma.numbers.kernel import Array, compiled

__all__ = ["BASES", "WORDS", "weighted_digits"]

BASES = (-1120, -2240, -3360)
"""Power of two of the first digit of Σw, Σw·x and Σw·x²."""

WORDS = (71, 138, 206)
"""Digits of each: room for products of that many doubles and 2^40 rows."""

_HALF = 27
_LOW = (1 << _HALF) - 1


def weighted_digits(values: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Digits of Σw, Σw·x and Σw·x² of finite doubles and finite weights above zero.

    Example:
        >>> from onesigma.numbers.digits import digits_value
        >>> weight, total, squares = weighted_digits(np.array([3.0]), np.array([0.5]))
        >>> digits_value(total[0], BASES[1]), digits_value(squares[0], BASES[2])
        (Fraction(3, 2), Fraction(9, 2))
    """
    digits = [np.zeros((1, words), np.int64) for words in WORDS]
    for start in range(0, len(values), 1 << 24):  # digits have room for 2^27 additions before they carry
        part = slice(start, start + (1 << 24))
        _add(values[part], weights[part], digits[0][0], digits[1][0], digits[2][0])
        for row in digits:
            carry(row)
    return digits[0], digits[1], digits[2]


@compiled
def _split(value: float) -> tuple[int, int, int]:
    """|value| = (high · 2^27 + low) · 2^place, low below 2^27 and high below 2^26."""
    mantissa, exponent = math.frexp(abs(value))
    beyond = max(0, -1074 - (exponent - 53))
    integer = int(mantissa * 2.0**53) >> beyond
    return integer & _LOW, integer >> _HALF, exponent - 53 + beyond


@compiled
def _add(values: Array, weights: Array, weight: Array, total: Array, squares: Array) -> None:
    for i in range(values.size):
        w_low, w_high, w_place = _split(weights[i])
        x_low, x_high, x_place = _split(values[i])
        sign = -1 if values[i] < 0 else 1
        place = w_place + 1120
        deposit(weight, place, w_low)
        deposit(weight, place + 27, w_high)
        place = w_place + x_place + 2240
        deposit(total, place, sign * w_low * x_low)
        deposit(total, place + 27, sign * (w_low * x_high + w_high * x_low))
        deposit(total, place + 54, sign * w_high * x_high)
        # x² in four pieces of 27 bits, so that a piece times half of w has 54.
        middle = 2 * x_low * x_high + ((x_low * x_low) >> 27)
        top = x_high * x_high + (middle >> 27)
        piece0, piece1, piece2, piece3 = (x_low * x_low) & _LOW, middle & _LOW, top & _LOW, top >> 27
        place = w_place + 2 * x_place + 3360
        deposit(squares, place, w_low * piece0)
        deposit(squares, place + 27, w_low * piece1 + w_high * piece0)
        deposit(squares, place + 54, w_low * piece2 + w_high * piece1)
        deposit(squares, place + 81, w_low * piece3 + w_high * piece2)
        deposit(squares, place + 108, w_high * piece3)
