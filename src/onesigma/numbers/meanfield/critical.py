"""Where signals and gradients both travel to any depth."""

import math
from dataclasses import dataclass, replace

import numpy as np

from onesigma._errors import GainError
from onesigma._typing import Activation
from onesigma.numbers.expectation import function_of
from onesigma.numbers.meanfield.fixed import ORIGIN, SAME, SCAN, roots, sample
from onesigma.numbers.meanfield.maps import at_variance, check, second_moment
from onesigma.numbers.pointwise import Pointwise

__all__ = ["CriticalPoint", "critical_point"]

_LARGEST = 16.0  # std 4: beyond it nothing is at unit scale
_SEARCHED = np.append(SCAN[SCAN < _LARGEST], _LARGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPoint:
    """Weights and biases at which Q keeps the variance and chi = 1: signals and gradients travel to any depth.

    Attributes:
        weight_std: Std of a weight, times √fan_in.
        bias_std: Std of a bias.
        variance: q* of the pre-activations that goes with them.
        slope: Q′(q*). Above 1, as for GELU, SiLU and Mish, chi = 1 but variances near q* leave it with depth.
    """

    weight_std: float
    bias_std: float
    variance: float
    slope: float


def critical_point(f: Activation | str, bias_std: float = 0.0) -> CriticalPoint:
    """The weights, for these biases, with Q(q*) = q* and chi = 1: weight_std = 1/√E[f′(u)²], u ~ N(0, q*).

    Of several the one of least variance; where every variance will do (ReLU without biases), that of 1; where it is
    the limit of small signals (tanh without biases), q* = 0.

    Raises:
        GainError: There is none with a variance up to 16, as for GELU and SiLU without biases, ReLU with, and softplus.

    Example:
        >>> point = critical_point("tanh", 0.05**0.5)
        >>> round(point.weight_std**2, 4), round(point.variance, 4)
        (1.761, 0.57)
    """
    check(bias_std=bias_std)
    function = function_of(f)

    def excess(variance: float) -> float:
        # Q(q) = q and chi = 1 leave bias_std² = q − E[f²]/E[f′²].
        return 1 - 1 / at_variance(function, variance).chi - bias_std**2 / variance

    excesses = sample(excess, _SEARCHED)
    if (np.abs(excesses) <= SAME).all():
        return _critical(function, 1.0, bias_std)
    variance = next(roots(excess, _SEARCHED, excesses), None)
    if variance is not None:
        return _critical(function, variance, bias_std)
    if bias_std == 0 and _is_stable_at_zero(function):
        return replace(_critical(function, ORIGIN, 0.0), variance=0.0)
    advice = "give biases, such as bias_std=0.2" if bias_std == 0 else "try other biases, or none"
    raise GainError(
        f"{function.name}: no critical point at bias_std = {bias_std:g}: no variance up to {_LARGEST:g} has both "
        f"Q(q) = q and chi = 1; {advice}, or mirrored weights or normalization layers, which need no such point."
    )


def _critical(f: Pointwise, variance: float, bias_std: float) -> CriticalPoint:
    moments = at_variance(f, variance)
    weight_variance = variance / moments.slope_second_moment
    return CriticalPoint(
        weight_std=math.sqrt(weight_variance),
        bias_std=bias_std,
        variance=variance,
        slope=weight_variance * moments.stability * moments.second_moment / variance,
    )


def _is_stable_at_zero(f: Pointwise) -> bool:
    """Whether f(0) = 0 and, with weight_std = 1/|f′(0)|, small variances shrink."""
    if second_moment(f, 0.0) > 0 or second_moment(f, ORIGIN) == 0:
        return False
    tangent, small = at_variance(f, ORIGIN), 1e-4
    return second_moment(f, small) / small < tangent.slope_second_moment / ORIGIN
