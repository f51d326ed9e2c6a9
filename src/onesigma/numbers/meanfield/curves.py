"""An activation as curves: the function and its maps, sampled for a picture or a table."""

from dataclasses import dataclass

import numpy as np

from onesigma._typing import Activation
from onesigma.numbers.activation_moments import ActivationMoments, moments_of
from onesigma.numbers.bivariate import pair_expectation
from onesigma.numbers.expectation import function_of
from onesigma.numbers.meanfield.fixed import sample
from onesigma.numbers.meanfield.maps import second_moment

__all__ = ["Curve", "Curves", "curves"]

Curve = tuple[tuple[float, float], ...]

_POINTS = np.linspace(-4, 4, 161)
_VARIANCES = np.geomspace(1e-2, 1e2, 49)
# Denser toward 1, where the maps of kinked functions bend like a power of 3/2.
_CORRELATIONS = 1 - np.linspace(1, 0, 33) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What there is to see of an activation with unit-gain weights and no biases.

    Attributes:
        moments: Its numbers.
        function: (z, f(z)) for |z| ≤ 4.
        slope: (z, f′(z)); empty where autograd gives none.
        variance: (q, Q(q)) for q from 0.01 to 100, where Q exists.
        correlation: (c, C(c)) for c from 0 to 1, at variance 1.
    """

    moments: ActivationMoments
    function: Curve
    slope: Curve
    variance: Curve
    correlation: Curve


def curves(f: Activation | str) -> Curves:
    """Sample a function and its maps.

    Raises:
        GainError: As `activation_moments`; and for a gated pair, which is no function of one number.

    Example:
        >>> sampled = curves("relu")
        >>> sampled.variance[0], tuple(round(c, 3) for c in sampled.correlation[0])
        ((0.01, 0.01), (0.0, 0.318))
    """
    function = function_of(f)
    moments = moments_of(function)
    values = function.with_slope(_POINTS) if function.differentiable else function(_POINTS)
    values = values.reshape(-1, function.channels, len(_POINTS)).mean(axis=1)
    variances = sample(lambda variance: second_moment(function, variance), _VARIANCES) / moments.second_moment
    correlations = [pair_expectation(function, float(c)) / moments.second_moment for c in _CORRELATIONS]
    return Curves(
        moments=moments,
        function=_curve(_POINTS, values[0]),
        slope=_curve(_POINTS, values[1]) if function.differentiable else (),
        variance=_curve(_VARIANCES, variances),
        correlation=_curve(_CORRELATIONS, correlations),
    )


def _curve(x: np.ndarray, y: np.ndarray | list[float]) -> Curve:
    return tuple((float(a), float(b)) for a, b in zip(x, y, strict=True) if np.isfinite(b))
