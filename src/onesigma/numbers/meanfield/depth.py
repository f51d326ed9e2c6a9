"""How deep signals go, and how large they may be to go deep."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq

from onesigma._errors import GainError
from onesigma._typing import Activation
from onesigma.numbers.activation_moments import moments_of
from onesigma.numbers.bivariate import pair_expectation
from onesigma.numbers.expectation import function_of
from onesigma.numbers.meanfield.fixed import SAME, FixedPoint, fixed_points
from onesigma.numbers.meanfield.maps import at_variance, scaled_to, second_moment, weight_or_gain
from onesigma.numbers.pointwise import Pointwise

__all__ = ["DepthScales", "depth_scales", "variance_for_depth"]

_DEPTH_SCAN = np.geomspace(1.0, 1e-6, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthScales:
    """Over how many layers a signal changes e-fold.

    Attributes:
        variance: q*, where the layers work.
        correlation: c*, which the correlation of any two inputs tends to.
        gradient_depth: 1/|ln chi|; inf at a critical point.
        correlation_depth: 1/|ln C′(c*)|; inf at a critical point.
    """

    variance: float
    correlation: float
    gradient_depth: float
    correlation_depth: float


def depth_scales(f: Activation | str, *, weight_std: float | None = None, bias_std: float = 0.0) -> DepthScales:
    """Over how many layers gradients and correlations change e-fold, at the variance that unit-scale inputs tend to.

    Raises:
        GainError: As `variance_map`; or the variance grows without bound, or dies out.

    Example:
        >>> scales = depth_scales("tanh", weight_std=1.3, bias_std=0.3)
        >>> round(scales.gradient_depth, 2), scales.correlation
        (16.11, 1.0)
    """
    points = fixed_points(f, weight_std=weight_std, bias_std=bias_std)
    function, weight = function_of(f), weight_or_gain(f, weight_std)
    step = weight**2 * second_moment(function, 1.0) + bias_std**2
    point = _reached(points, step)
    if point is None:
        fate = "grows without bound" if step > 1 else "dies out"
        raise GainError(f"{function.name}: the variance {fate} with depth, so there is no scale to report.")
    scaled = scaled_to(function, point.variance)

    def drift(c: float) -> float:
        return (weight**2 * pair_expectation(scaled, c) + bias_std**2) / point.variance - c

    correlation = _limit(drift) if point.chi > 1 + SAME else 1.0
    slope = weight**2 * pair_expectation(scaled, correlation, slopes=True) / point.variance
    return DepthScales(
        variance=point.variance,
        correlation=correlation,
        gradient_depth=_depth(point.chi),
        correlation_depth=_depth(slope),
    )


def _reached(points: tuple[FixedPoint, ...], step: float) -> FixedPoint | None:
    """The fixed point with a variance > 0 that 1 tends to, when its first step goes to `step`."""
    if abs(step - 1) <= 1e-9:
        return min(points, key=lambda point: abs(point.variance - 1))
    if step > 1:
        return next((point for point in points if point.variance > 1), None)
    below = [point for point in points if point.variance < 1]
    return below[-1] if below and below[-1].variance > 0 else None


def _limit(drift: Callable[[float], float]) -> float:
    """The correlation below 1 that is kept, where 1 repels."""
    if abs(drift(0.0)) <= SAME:
        return 0.0
    nearly_one = 1 - 1e-9
    return float(brentq(drift, 0.0, nearly_one, xtol=1e-12)) if drift(nearly_one) < 0 else 1.0


def _depth(growth: float) -> float:
    """Layers per e-fold; the growth of one layer is known to about 1e-12."""
    distance = abs(math.log(growth)) if growth > 0 else math.inf
    return 1 / distance if distance > SAME else math.inf


def variance_for_depth(f: Activation | str, depth: int, *, bound: float = 2.0) -> float:
    """The largest pre-activation variance q ≤ 1 at which `depth` layers change squared gradients at most `bound`-fold.

    For an odd f these are orthogonal layers that keep q, and chi(q) = q·E[f′(u)²]/E[f(u)²], u ~ N(0, q). Any other f
    is used with mirrored weights, which make it h(x) = f(x) − f(−x), and h is taken for f. For ReLU, GELU, SiLU and
    softplus h(x) = x and chi = 1 at every q, so that q = 1.

    Args:
        f: A name, a function or a module.
        depth: Number of layers, ≥ 1.
        bound: chi(q)^depth stays between 1/bound and bound; > 1.

    Raises:
        GainError: f is even, or no variance down to 1e-6 keeps the bound.

    Example:
        >>> variance_for_depth("gelu", 1000), round(variance_for_depth("tanh", 50), 3)
        (1.0, 0.138)
    """
    if depth < 1 or not bound > 1:
        raise GainError(f"depth ≥ 1 and bound > 1 are needed, got depth={depth} and bound={bound}.")
    function = _propagated(function_of(f))

    def excess(variance: float) -> float:
        return depth * abs(math.log(at_variance(function, variance).chi)) - math.log(bound)

    if excess(1.0) <= 0:
        return 1.0
    with suppress(GainError):  # a function may vanish at small variances
        for larger, smaller in pairwise(map(float, _DEPTH_SCAN)):
            if excess(smaller) <= 0:
                return float(brentq(excess, smaller, larger, rtol=1e-12))
    raise GainError(
        f"{function.name}: at no variance do {depth} layers keep the gradient within a factor of {bound:g}; "
        "use normalization layers, or a larger bound."
    )


def _propagated(f: Pointwise) -> Pointwise:
    """What mirrored weights make of f: itself where it is odd, else f(x) − f(−x)."""
    moments = moments_of(f)
    if math.isinf(moments.odd_gain):
        raise GainError(f"{f.name}: an even function; mirrored weights cancel it, and there is nothing to propagate.")
    # For an odd f, f(z) − f(−z) = 2f(z).
    return f if math.isclose(moments.gain, 2 * moments.odd_gain, rel_tol=1e-12) else f.odd_part()
