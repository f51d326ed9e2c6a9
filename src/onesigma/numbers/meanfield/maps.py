"""One layer: the maps of variance and correlation."""

import math

from onesigma._errors import GainError
from onesigma._typing import Activation
from onesigma.numbers.activation_moments import ActivationMoments, moments_of
from onesigma.numbers.bivariate import pair_expectation
from onesigma.numbers.expectation import function_of, grid_of
from onesigma.numbers.gain import gain_of
from onesigma.numbers.pointwise import Pointwise

__all__ = ["at_variance", "check", "correlation_map", "scaled_to", "second_moment", "variance_map", "weight_or_gain"]


def variance_map(
    f: Activation | str, variance: float, *, weight_std: float | None = None, bias_std: float = 0.0
) -> float:
    """Q(q): the variance of the next pre-activations, weight_std²·E[f(u)²] + bias_std², u ~ N(0, variance).

    Args:
        f: A name, a function or a module.
        variance: q ≥ 0 of these pre-activations.
        weight_std: Std of a weight, times √fan_in; the gain of f where none is given.
        bias_std: Std of a bias.

    Raises:
        GainError: E[f²] does not exist, or a number is negative or not finite.

    Example:
        >>> round(variance_map("tanh", 0.607047, weight_std=1.3, bias_std=0.3), 5)
        0.60705
    """
    check(variance=variance, bias_std=bias_std, weight_std=weight_std)
    return weight_or_gain(f, weight_std) ** 2 * second_moment(function_of(f), variance) + bias_std**2


def correlation_map(
    f: Activation | str,
    correlation: float,
    *,
    variance: float = 1.0,
    weight_std: float | None = None,
    bias_std: float = 0.0,
) -> float:
    """C(c): the correlation of the next pre-activations of two inputs whose own have this one, and this variance.

    Raises:
        GainError: As `variance_map`; or the correlation is not in [−1, 1].

    Example:
        >>> round(correlation_map("relu", 0.0), 3), round(correlation_map("tanh", 0.5), 3)
        (0.318, 0.473)
    """
    if not -1 <= correlation <= 1:
        raise GainError(f"correlation: a number in [−1, 1] is needed, got {correlation}.")
    check(variance=variance, bias_std=bias_std, weight_std=weight_std)
    weight_variance, function = weight_or_gain(f, weight_std) ** 2, function_of(f)
    product = pair_expectation(scaled_to(function, variance), correlation)
    whole = weight_variance * second_moment(function, variance) + bias_std**2
    if whole == 0:
        raise GainError(f"{function.name}: at variance {variance:g} the next layer is zero, and has no correlation.")
    return (weight_variance * product + bias_std**2) / whole


def at_variance(f: Pointwise, variance: float) -> ActivationMoments:
    """The moments of z ↦ f(√variance·z)."""
    return moments_of(scaled_to(f, variance))


def scaled_to(f: Pointwise, variance: float) -> Pointwise:
    """z ↦ f(√variance·z)."""
    std = math.sqrt(variance)
    return f.of(lambda z: std * z)


def second_moment(f: Pointwise, variance: float) -> float:
    """E[f(u)²], u ~ N(0, variance)."""
    scaled = scaled_to(f, variance)
    grid = grid_of(scaled, scaled)
    return grid.second_moment(grid.values)


def weight_or_gain(f: Activation | str, weight_std: float | None) -> float:
    """The std of weights that was given, or the one that keeps unit scale."""
    return gain_of(f) if weight_std is None else weight_std


def check(**numbers: float | None) -> None:
    """Raise unless every number given is finite and not negative."""
    for name, number in numbers.items():
        if number is not None and not (math.isfinite(number) and number >= 0):
            raise GainError(f"{name}: a finite number ≥ 0 is needed, got {number}.")
