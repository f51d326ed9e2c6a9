"""Exact moments of columns, rounded once, as the arrays that a scaler needs."""

import math
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onesigma.numbers.columns import Columns
from onesigma.numbers.exact import divide
from onesigma.numbers.moments import Moments

__all__ = ["Readout"]

Doubles = npt.NDArray[np.float64]


class Readout:
    """Arrays (F,) over the columns, each computed when it is first asked for.

    Example:
        >>> readout = Readout(Columns.of(np.array([[1.0, 5.0], [3.0, 5.0]])))
        >>> readout.mean, readout.std, readout.constant
        (array([2., 5.]), array([1., 0.]), array([False,  True]))
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    @cached_property
    def mean(self) -> Doubles:
        """Correctly rounded means; NaN where nothing was seen."""
        return self._mean_parts[0]

    @cached_property
    def mean_low(self) -> Doubles:
        """What `mean` leaves of the exact mean, rounded."""
        return self._mean_parts[1]

    @cached_property
    def var(self) -> Doubles:
        """Correctly rounded variances, correction 0."""
        return self._array(lambda moments: moments.variance())

    @cached_property
    def std(self) -> Doubles:
        """Correctly rounded stds, correction 0."""
        return self._array(lambda moments: moments.std())

    @cached_property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Whether the exact variance is zero."""
        return np.array([moments.is_constant for moments in self.columns.values()], dtype=bool)

    @cached_property
    def minimum(self) -> Doubles:
        """Smallest finite values; NaN where none was seen."""
        return self._array(lambda moments: _double(moments.low))

    @cached_property
    def minimum_low(self) -> Doubles:
        """What `minimum` leaves of the exact minimum: not zero for 64-bit integers and decimals alone."""
        return self._array(lambda moments: _rest(moments.low))

    @cached_property
    def maximum(self) -> Doubles:
        """Largest finite values; NaN where none was seen."""
        return self._array(lambda moments: _double(moments.high))

    @cached_property
    def range(self) -> Doubles:
        """Largest minus smallest value, rounded once."""
        return self._array(_range)

    @cached_property
    def counts(self) -> npt.NDArray[Any]:
        """Sums of the weights of the finite values: int64, or float64 where weights are not whole."""
        weights = [moments.weight for moments in self.columns.values()]
        whole = all(weight.denominator == 1 for weight in weights)
        return np.array([int(weight) if whole else float(weight) for weight in weights])

    @cached_property
    def num_rows(self) -> int:
        """Rows that were seen, whatever they hold."""
        return max(
            (moments.count + moments.nulls + moments.nans + moments.pos_infs + moments.neg_infs)
            for moments in self.columns.values()
        )

    @cached_property
    def _mean_parts(self) -> tuple[Doubles, Doubles]:
        parts = np.array([moments.mean_parts for moments in self.columns.values()], dtype=np.float64)
        return parts[:, 0], parts[:, 1]

    def _array(self, read: Any) -> Doubles:
        return np.array([read(moments) for moments in self.columns.values()], dtype=np.float64)


def _double(value: Fraction | None) -> float:
    return math.nan if value is None else divide(value.numerator, value.denominator)


def _rest(value: Fraction | None) -> float:
    high = _double(value)
    return float(value - Fraction(high)) if value is not None and math.isfinite(high) else 0.0


def _range(moments: Moments) -> float:
    if moments.low is None or moments.high is None:
        return math.nan
    return _double(moments.high - moments.low)
