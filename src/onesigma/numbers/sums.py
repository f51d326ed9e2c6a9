"""Exact sums of one flat column: the same integers for any order, split or width of its type."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from onesigma.numbers.arrays import Flat
from onesigma.numbers.kernel import SQUARES_DIGITS, SUM_DIGITS, add_doubles

__all__ = ["Sums", "digits_fraction", "sums_of"]


@dataclass(frozen=True, slots=True)
class Sums:
    """What one column adds up to, in its true units; NaN and ±inf are counted, and in no sum.

    Attributes:
        count: Finite values.
        weight: Their weights' sum; `count` where there are none.
        total: Σ w·x.
        squares: Σ w·x².
    """

    count: int
    nans: int
    pos_infs: int
    neg_infs: int
    minimum: Fraction | None
    maximum: Fraction | None
    weight: Fraction
    total: Fraction
    squares: Fraction


def sums_of(flat: Flat) -> Sums:
    """Exact sums of a column with or without weights."""
    values, weights = flat.values, flat.weights
    if weights is not None:
        return _weighted(flat, weights)
    if values.dtype.kind == "O":
        return _of_objects(values, [1] * values.size, flat.divisor, counts=True)
    if values.dtype.kind == "f":
        return _of_floats(values)
    return _of_integers(values, flat.divisor)


def digits_fraction(digits: np.ndarray, exponent: int) -> Fraction:
    """The exact value of Σ digits[i] · 2^(32·i + exponent)."""
    total = sum(int(digit) << 32 * i for i, digit in enumerate(digits) if digit)
    if not total:
        return Fraction(0)
    zeros = (total & -total).bit_length() - 1
    return Fraction(total >> zeros) * Fraction(2) ** (zeros + exponent)


def _bound(value: Any, divisor: int) -> Fraction:
    return Fraction(value.item() if isinstance(value, np.generic) else value) / divisor


def _of_floats(values: np.ndarray) -> Sums:
    finite = np.isfinite(values)
    nans, pos = int(np.isnan(values).sum()), int((values == np.inf).sum())
    neg = int(values.size - finite.sum()) - nans - pos
    doubles = np.ascontiguousarray(values[finite], dtype=np.float64)
    if not doubles.size:
        return Sums(0, nans, pos, neg, None, None, *[Fraction(0)] * 3)
    total, squares = np.zeros(SUM_DIGITS, np.int64), np.zeros(SQUARES_DIGITS, np.int64)
    add_doubles(doubles, total, squares)
    bounds = _bound(doubles.min(), 1), _bound(doubles.max(), 1)
    sums = Fraction(doubles.size), digits_fraction(total, -1074), digits_fraction(squares, -2148)
    return Sums(doubles.size, nans, pos, neg, *bounds, *sums)


def _of_integers(values: np.ndarray, divisor: int) -> Sums:
    if not values.size:
        return Sums(0, 0, 0, 0, None, None, *[Fraction(0)] * 3)
    total, squares = 0, 0
    for start in range(0, values.size, 1 << 20):
        # Halves of 32 bits: no product and no sum of 2^20 of them reaches 64 bits.
        part = values[start : start + (1 << 20)]
        low = (part & np.array(0xFFFFFFFF, part.dtype) if part.dtype.itemsize == 8 else part).astype(np.int64)
        high = (part >> 32).astype(np.int64) if part.dtype.itemsize == 8 else np.zeros_like(low)
        total += int(low.sum()) + (int(high.sum()) << 32)
        squares += _dot(low, low) + (_dot(low, high) << 33) + (_dot(high, high) << 64)
    bounds = _bound(values.min(), divisor), _bound(values.max(), divisor)
    sums = Fraction(values.size), Fraction(total, divisor), Fraction(squares, divisor * divisor)
    return Sums(values.size, 0, 0, 0, *bounds, *sums)


def _dot(left: np.ndarray, right: np.ndarray) -> int:
    """Σ left·right for |integers| up to 2^32, by 16-bit pieces of the right one."""
    low, high = right & 0xFFFF, right >> 16
    return (
        int(np.dot(left >> 16, low)) * (1 << 16)
        + int(np.dot(left & 0xFFFF, low))
        + ((int(np.dot(left >> 16, high)) << 32) + (int(np.dot(left & 0xFFFF, high)) << 16))
    )


def _weighted(flat: Flat, weights: np.ndarray) -> Sums:
    kept = weights != 0
    counts = weights.dtype.kind in "iu"
    values = flat.values[kept]
    exact = values if values.dtype.kind == "O" else [_exact(value) for value in values.tolist()]
    multiples = weights[kept].tolist() if counts else [Fraction(weight) for weight in weights[kept].tolist()]
    return _of_objects(exact, multiples, flat.divisor, counts=counts)


def _exact(value: Any) -> Any:
    return Fraction(value) if isinstance(value, int) or np.isfinite(value) else value


def _of_objects(values: Iterable[Any], weights: Iterable[Any], divisor: int, *, counts: bool) -> Sums:
    count, nans, pos_infs, neg_infs = 0, 0, 0, 0
    weight = total = squares = Fraction(0)
    seen: list[Any] = []
    for value, multiple in zip(values, weights, strict=True):
        times = multiple if counts else 1
        if isinstance(value, float):
            nans, pos_infs, neg_infs = (
                nans + times * (value != value),
                pos_infs + times * (value > 0),
                neg_infs + times * (value < 0),
            )
            continue
        count += times
        seen.append(value)
        weight, total, squares = weight + multiple, total + multiple * value, squares + multiple * value * value
    low, high = (_bound(min(seen), divisor), _bound(max(seen), divisor)) if seen else (None, None)
    return Sums(count, nans, pos_infs, neg_infs, low, high, weight, total / divisor, squares / divisor**2)
