"""Variances that a layer keeps."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from onesigma._errors import GainError
from onesigma._typing import Activation
from onesigma.numbers.expectation import function_of
from onesigma.numbers.lobatto import Array
from onesigma.numbers.meanfield.maps import at_variance, check, second_moment, weight_or_gain
from onesigma.numbers.pointwise import Pointwise

__all__ = ["ORIGIN", "SAME", "SCAN", "FixedPoint", "fixed_points", "roots", "sample"]

SCAN = 1.1 * np.geomspace(1e-8, 1e4, 49)  # 1.1: no round number, at which a root might lie, is hit
ORIGIN = 1e-24  # a variance so small that f is its tangent
SAME = 1e-12  # relative


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPoint:
    """A variance that a layer keeps.

    Attributes:
        variance: q* = Q(q*).
        slope: Q′(q*): below 1 variances nearby come back, above 1 they leave.
        chi: weight_std²·E[f′(u)²].
    """

    variance: float
    slope: float
    chi: float


def fixed_points(
    f: Activation | str, *, weight_std: float | None = None, bias_std: float = 0.0
) -> tuple[FixedPoint, ...]:
    """Every variance in [1e-8, 1e4] that a layer keeps, in order, and 0 where it is one.

    Where every variance is kept, as by ReLU with weight_std = √2, the one of 1 stands for all.

    Raises:
        GainError: As `variance_map`.

    Example:
        >>> [(round(p.variance, 4), round(p.chi, 4)) for p in fixed_points("tanh", weight_std=1.3, bias_std=0.3)]
        [(0.607, 0.9398)]
    """
    check(weight_std=weight_std, bias_std=bias_std)
    function, weight = function_of(f), weight_or_gain(f, weight_std)

    def growth(variance: float) -> float:
        return (weight**2 * second_moment(function, variance) + bias_std**2) / variance - 1

    growths = sample(growth, SCAN)
    if (np.abs(growths) <= SAME).all():
        variances = [1.0]
    else:
        variances = list(roots(growth, SCAN, growths))
        if bias_std == 0 and second_moment(function, 0.0) == 0:
            variances.insert(0, 0.0)
    return tuple(_fixed_point(function, variance, weight) for variance in variances)


def sample(function: Callable[[float], float], variances: Array) -> Array:
    """The function at these variances; NaN at those where an expectation leaves float64, unless all do."""
    values = np.full(len(variances), np.nan)
    for index, variance in enumerate(variances):
        with suppress(GainError):
            values[index] = function(float(variance))
    if np.isnan(values).all():
        function(1.0)  # the error says why
    return values


def roots(function: Callable[[float], float], variances: Array, values: Array) -> Iterator[float]:
    """The roots of a function, one between each two of these variances where its values change sign."""
    signs = np.where(np.abs(values) <= SAME, 0, np.sign(values))
    for left in np.flatnonzero(signs[:-1] * signs[1:] < 0):
        yield float(brentq(function, variances[left], variances[left + 1], xtol=1e-300, rtol=1e-14))


def _fixed_point(f: Pointwise, variance: float, weight_std: float) -> FixedPoint:
    near = variance or ORIGIN
    if second_moment(f, near) == 0:  # flat at the origin
        return FixedPoint(variance=variance, slope=0.0, chi=0.0)
    moments = at_variance(f, near)
    slope = moments.stability * moments.second_moment if variance else moments.second_moment
    return FixedPoint(
        variance=variance,
        slope=weight_std**2 * slope / near,
        chi=weight_std**2 * moments.slope_second_moment / near,
    )
