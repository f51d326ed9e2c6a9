"""Bytes by histogram: 256 counts hold every moment and quantile of an image's channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from onesigma._errors import SourceError
from onesigma.numbers.kernel import Array, compiled
from onesigma.numbers.moments import Moments
from onesigma.numbers.sums import Sums

__all__ = ["Histogram", "histograms"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often each byte occurs: `zero`, `of` values, or `merge`d; moments and quantiles are exact.

    Attributes:
        counts: 256 counts.

    Example:
        >>> histogram = Histogram.of(np.array([0, 10, 10, 255], np.uint8))
        >>> histogram.quantile(0.5), histogram.moments().mean
        (10, 68.75)
    """

    counts: tuple[int, ...] = (0,) * 256

    @classmethod
    def zero(cls) -> Self:
        """The histogram of nothing."""
        return cls()

    @classmethod
    def of(cls, values: Array) -> Self:
        """The histogram of an array of bytes of any shape.

        Raises:
            SourceError: The array holds something else than uint8.
        """
        return cls(tuple(histograms(np.ravel(values), axis=None)[0].counts))

    def merge(self, other: Self) -> Self:
        """The histogram of both."""
        return type(self)(tuple(left + right for left, right in zip(self.counts, other.counts, strict=True)))

    def __add__(self, other: Self) -> Self:
        """See `merge`."""
        return self.merge(other)

    def quantile(self, share: float) -> int:
        """The smallest byte that at least this share of the values does not exceed.

        Raises:
            SourceError: There are no values, or the share is outside 0 … 1.
        """
        total = sum(self.counts)
        if not total or not 0 <= share <= 1:
            raise SourceError(f"quantile: wanted a share from 0 to 1 of some values, got {share} of {total} values.")
        needed = max(1, -(-Fraction(share) * total // 1))
        return int(np.searchsorted(np.cumsum(self.counts), needed))

    def moments(self) -> Moments:
        """The exact moments of the values."""
        seen = [(value, count) for value, count in enumerate(self.counts) if count]
        total, squares = (sum(count * value**power for value, count in seen) for power in (1, 2))
        low, high = (Fraction(seen[0][0]), Fraction(seen[-1][0])) if seen else (None, None)
        count = sum(self.counts)
        sums = Sums(count, 0, 0, 0, low, high, Fraction(count), Fraction(total), Fraction(squares))
        return Moments.of_sums(sums, kind="number", nulls=0)


def histograms(array: Array, *, axis: int | None) -> Sequence[Histogram]:
    """One histogram for each index along an axis of an array of bytes, or one for all.

    Raises:
        SourceError: The array holds something else than uint8.
    """
    if array.dtype != np.uint8:
        raise SourceError(f"Histogram: wanted bytes (uint8), got {array.dtype}; use Moments.of for other numbers.")
    shape = array.shape
    split = (1, 1, array.size) if axis is None else (_product(shape[:axis]), shape[axis], _product(shape[axis + 1 :]))
    counts = np.zeros((split[1], 256), np.int64)
    _count(np.ascontiguousarray(array).reshape(split), counts)
    return [Histogram(tuple(row)) for row in counts.tolist()]


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64))


@compiled
def _count(array: Array, counts: Array) -> None:
    for i in range(array.shape[0]):
        for c in range(array.shape[1]):
            row, bins = array[i, c], counts[c]
            for j in range(row.size):
                bins[row[j]] += 1
