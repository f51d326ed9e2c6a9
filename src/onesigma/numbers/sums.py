"""Exact sums of one flat column: compiled where the numbers fit into machine words, as Python integers elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np

from onesigma.numbers.arrays import Flat
from onesigma.numbers.digits import digits_value
from onesigma.numbers.kernel import Array
from onesigma.numbers.tally import Tally
from onesigma.numbers.weighted import BASES, weighted_digits

__all__ = ["Sums", "sums_of"]


@dataclass(frozen=True, slots=True)
class Sums:
    """What one column adds up to, in its true units; NaN and ±inf are counted, and in no sum.

    Attributes:
        count: Finite values.
        nans: NaN, and so on.
        pos_infs: +inf.
        neg_infs: −inf.
        low: Smallest finite value.
        high: Largest.
        weight: The weights' sum; `count` where there are none.
        total: Σ w·x.
        squares: Σ w·x².
    """

    count: int
    nans: int
    pos_infs: int
    neg_infs: int
    low: Fraction | None
    high: Fraction | None
    weight: Fraction
    total: Fraction
    squares: Fraction

    @classmethod
    def of_tally(cls, tally: Tally, column: int, *, divisor: int = 1) -> Self:
        """The sums of one column of a tally of values · divisor."""
        count = int(tally.finite[column])
        nans, pos_infs, neg_infs = tally.nonfinite[column].tolist()
        total, squares = tally.sum_of(column), tally.squares_of(column)
        low, high = tally.bounds_of(column)
        if divisor != 1:
            total, squares = total / divisor, squares / divisor**2
            low, high = (None if end is None else end / divisor for end in (low, high))
        return cls(count, nans, pos_infs, neg_infs, low, high, Fraction(count), total, squares)


def sums_of(flat: Flat) -> Sums:
    """Exact sums of a column with or without weights."""
    values, weights = flat.values, flat.weights
    if weights is None and values.dtype.kind != "O":
        return Sums.of_tally(Tally.of([values.reshape(-1, 1)]), 0, divisor=flat.divisor)
    if weights is None:
        return _of_objects(values, np.ones(values.size, np.int64), flat.divisor)
    kept = weights > 0
    values, weights = values[kept], weights[kept]
    doubles = None if flat.divisor != 1 else _as_doubles(values), _as_doubles(weights)
    if doubles[0] is None or doubles[1] is None:
        return _of_objects(values, weights, flat.divisor)
    return _of_doubles(doubles[0], doubles[1], counts=weights.dtype.kind in "iu")


def _as_doubles(values: Array) -> Array | None:
    """The values as doubles, or None where that could round."""
    if values.dtype.kind == "O":
        return None
    if values.dtype.kind in "iu" and values.size and (values.max() > 2**53 or values.min() < -(2**53)):
        return None
    return values.astype(np.float64)


def _of_doubles(values: Array, weights: Array, *, counts: bool) -> Sums:
    times = weights if counts else np.ones_like(weights)
    finite = np.isfinite(values)
    lost = [int(times[mask].sum()) for mask in (np.isnan(values), values == np.inf, values == -np.inf)]
    values, weights, times = values[finite], weights[finite], times[finite]
    if not values.size:
        return Sums(0, lost[0], lost[1], lost[2], None, None, Fraction(0), Fraction(0), Fraction(0))
    digits = weighted_digits(values, weights)
    weight, total, squares = (digits_value(row[0], base) for row, base in zip(digits, BASES, strict=True))
    count = int(weight) if counts else values.size
    ends = Fraction(values.min().item()), Fraction(values.max().item())
    return Sums(count, lost[0], lost[1], lost[2], *ends, weight, total, squares)


def _of_objects(values: Iterable[Any], weights: Array, divisor: int) -> Sums:
    count, nans, pos_infs, neg_infs = 0, 0, 0, 0
    weight = total = squares = Fraction(0)
    seen: list[Any] = []
    for value, multiple in zip(values, weights.tolist(), strict=True):
        times = multiple if isinstance(multiple, int) else 1
        if isinstance(value, float) and not np.isfinite(value):
            nans, pos_infs, neg_infs = (
                nans + times * (value != value),
                pos_infs + times * (value > 0),
                neg_infs + times * (value < 0),
            )
            continue
        count += times
        value, multiple = Fraction(value), Fraction(multiple)
        seen.append(value)
        weight, total, squares = weight + multiple, total + multiple * value, squares + multiple * value * value
    low, high = (min(seen) / divisor, max(seen) / divisor) if seen else (None, None)
    return Sums(count, nans, pos_infs, neg_infs, low, high, weight, total / divisor, squares / divisor**2)
