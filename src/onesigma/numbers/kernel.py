"""Compiled loops of the exact moments: doubles and floats are added as integers, so no order matters."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

__all__ = ["SQUARES_DIGITS", "SUM_DIGITS", "add_doubles"]

_F = TypeVar("_F", bound=Callable[..., Any])

SUM_DIGITS = 70
"""64-bit digits of weight 2^(32·i − 1074): a sum of doubles, with room for 2^29 additions before a carry."""

SQUARES_DIGITS = 136
"""64-bit digits of weight 2^(32·i − 2148): a sum of squares of doubles."""

_MANTISSA = np.int64((1 << 52) - 1)
_LOW = np.int64(0xFFFFFFFF)


def compiled(function: _F) -> _F:
    """`numba.njit` with the code kept on disk, the GIL released and every rounding as IEEE 754 wants it."""
    jitted: _F = numba.njit(cache=True, nogil=True, fastmath=False)(function)
    return jitted


@compiled
def _deposit(digits: np.ndarray, place: int, integer: int) -> None:
    """Add integer · 2^place; |integer| < 2^62."""
    word, shift = place >> 5, place & 31
    low = (integer & _LOW) << shift
    high = (integer >> 32) << shift  # below 2^61 for what is deposited here
    digits[word] += low & _LOW
    digits[word + 1] += ((low >> 32) & _LOW) + (high & _LOW)
    digits[word + 2] += high >> 32


@compiled
def add_doubles(values: np.ndarray, total: np.ndarray, squares: np.ndarray) -> None:
    """Add the finite doubles of a column, whatever their exponents, and their squares, to exact digits."""
    bits = values.view(np.int64)
    for i in range(bits.size):
        exponent = (bits[i] >> 52) & 2047
        mantissa = bits[i] & _MANTISSA
        if exponent == 0:
            exponent = 1
        else:
            mantissa |= np.int64(1) << 52
        place = exponent - 1
        low, high = mantissa & 0x7FFFFFF, mantissa >> 27
        _deposit(squares, 2 * place, low * low)
        _deposit(squares, 2 * place + 27, 2 * low * high)
        _deposit(squares, 2 * place + 54, high * high)
        _deposit(total, place, -mantissa if bits[i] < 0 else mantissa)
