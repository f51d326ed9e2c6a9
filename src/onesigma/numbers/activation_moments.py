"""The moments of an activation: what it does to the scale of a standard normal signal, and of its gradient."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from onesigma._errors import GainError
from onesigma._typing import Activation
from onesigma.numbers.activations import GATED, canonical_name, torch_name
from onesigma.numbers.expectation import function_of, grid_of
from onesigma.numbers.lobatto import Array
from onesigma.numbers.pointwise import Pointwise, pointwise
from onesigma.numbers.quadrature import Grid

__all__ = ["ActivationMoments", "activation_moments", "moments_of", "positive"]

_VANISHING = 1e-26  # of E[f²]: what is below is the rounding of a zero
_DIVERGED = 1e-4  # relative error, or share of narrow panels, from which on E[f′²] is called infinite


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationMoments:
    """What f does to z ~ N(0, 1). With several channels (a PReLU with a slope for each), the mean over them.

    Attributes:
        name: What was measured.
        mean: E[f].
        second_moment: E[f²].
        variance: E[f²] − E[f]².
        slope_second_moment: E[f′²], with the slope that backpropagation uses: jumps do not count. inf if it diverges.
        gain: 1/√E[f²]: what the weights after f are multiplied by to keep the rms of pre-activations at 1.
        std_gain: 1/√Var f: the same where the mean is taken out (weight standardization). inf for a constant.
        chi: gain²·E[f′²]: growth of the squared gradient per layer.
        stability: dQ/dq at q = 1 of the variance map Q(q) = gain²·E[f(√q·z)²]. Above 1 a unit-gain
            stack leaves unit scale with depth, below 1 it returns to it.
        odd_gain: 1/√E[(f(z) − f(−z))²]: the gain of mirrored weights. inf for an even f.
        error: Bound of the relative error of every number here; of the mean, relative to √E[f²].
    """

    name: str
    mean: float
    second_moment: float
    variance: float
    slope_second_moment: float
    gain: float
    std_gain: float
    chi: float
    stability: float
    odd_gain: float
    error: float


def activation_moments(f: Activation | str) -> ActivationMoments:
    """The moments of any activation, by name, function or module.

    Args:
        f: A name ("gelu", "LeakyReLU(0.2)", "swiglu"), a pointwise function of a tensor, or a module, which is
            looked at in eval mode and float64, on a copy. For a gated pair f(a)·b the gate a and the value b are
            independent standard normals, and the slopes with respect to both are added.

    Raises:
        GainError: f is zero, random, not pointwise, not finite on the line, or has no second moment.

    Example:
        >>> moments = activation_moments("gelu")
        >>> round(moments.gain, 6), round(moments.chi, 4), round(moments.stability, 3)
        (1.53353, 1.072, 1.144)

    Reference: He et al. 2015, section 2.2, https://arxiv.org/abs/1502.01852 (gain); Schoenholz et al. 2017,
    section 3, https://arxiv.org/abs/1611.01232 (chi, the variance map).
    """
    name = f if isinstance(f, str) else torch_name(f)
    return moments_of(pointwise(f)) if name is None else _named_moments(*canonical_name(name))  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _named_moments(name: str, arguments: tuple[float, ...]) -> ActivationMoments:
    spelled = f"{name}({', '.join(f'{argument:g}' for argument in arguments)})" if arguments else name
    if name not in GATED:
        return moments_of(function_of(spelled))
    if arguments:
        raise GainError(f"{spelled}: a gated pair takes no arguments.")
    return _gated(name, _named_moments(GATED[name], ()))


def _gated(name: str, gate: ActivationMoments) -> ActivationMoments:
    """The moments of f(a)·b from those of f; a and b independent, so that every moment is a product."""
    slope = gate.slope_second_moment + gate.second_moment
    even = 4 * gate.second_moment - gate.odd_gain**-2  # E[(f(z) + f(−z))²]: b changes its sign too
    return replace(
        gate,
        name=name,
        mean=0.0,
        variance=gate.second_moment,
        slope_second_moment=slope,
        std_gain=gate.gain,
        chi=slope / gate.second_moment,
        stability=1 + gate.stability,
        odd_gain=_inverse_root(even, gate.second_moment),
    )


def moments_of(f: Pointwise) -> ActivationMoments:
    """Integrate f and its slope, and read off every moment."""
    grid, values, (slope_second, slope_error) = _with_slope(f)
    mean = grid.expectation(values)
    second = positive(grid.second_moment(values), f.name)
    variance = grid.second_moment(values - mean)
    odd = grid.second_moment(values - grid.mirrored(values))
    gains = 1 / math.sqrt(second), _inverse_root(variance, second), _inverse_root(odd, second)
    moments = ActivationMoments(
        name=f.name,
        mean=mean,
        second_moment=second,
        variance=variance if math.isfinite(gains[1]) else 0.0,
        slope_second_moment=slope_second,
        gain=gains[0],
        std_gain=gains[1],
        chi=slope_second / second,
        stability=(grid.second_moment(grid.points * values) / second - 1) / 2,
        odd_gain=gains[2],
        error=0.0,
    )
    return replace(moments, error=max(slope_error, _error_bound(moments, grid, f.channels)))


def _with_slope(f: Pointwise) -> tuple[Grid, Array, tuple[float, float]]:
    """The grid of f, its values there, and E[f′²] with its relative error."""
    if not f.differentiable:
        return _without_autograd(f)
    try:
        grid = grid_of(f, f.with_slope)
    except GainError:  # if it is f that fails, not its slope, the message comes again
        return _without_autograd(f)
    slopes = grid.values[f.channels :]
    second = grid.second_moment(slopes)
    error = float(grid.errors[1, f.channels :].mean()) / second if second else 0.0
    converged = error <= max(_DIVERGED, 4 * f.precision)
    return grid, grid.values[: f.channels], (second, error) if converged else (math.inf, 0.0)


def _without_autograd(f: Pointwise) -> tuple[Grid, Array, tuple[float, float]]:
    """The same with slopes from the panels' polynomials: for functions that leave no graph, or a broken one."""
    grid = grid_of(f, f)
    slopes = grid.derivative(grid.values)
    second = grid.second_moment(slopes)
    narrow = grid.second_moment(np.where(grid.widths < 1e-4, slopes, 0.0))
    return grid, grid.values, (second, 1e-8) if narrow <= _DIVERGED * second else (math.inf, 0.0)


def positive(second_moment: float, name: str) -> float:
    """This second moment, if anything is left of the signal."""
    if second_moment > 0:
        return second_moment
    raise GainError(f"{name}: its second moment is zero (in float64), so no gain can restore the scale of the signal.")


def _inverse_root(moment: float, whole: float) -> float:
    """1/√moment, or inf where the moment is nothing but the rounding of a zero."""
    return 1 / math.sqrt(moment) if moment > _VANISHING * whole else math.inf


def _error_bound(moments: ActivationMoments, grid: Grid, channels: int) -> float:
    """The largest relative error; each moment is a difference of integrals whose errors are known."""
    mean_error, second_error = (float(error) for error in grid.errors[:, :channels].mean(axis=1))
    second = moments.second_moment
    bounds = [mean_error / math.sqrt(second), 4 * second_error / second]  # 4: for the z² of the stability
    if math.isfinite(moments.std_gain):
        bounds.append((second_error + 2 * abs(moments.mean) * mean_error) / moments.variance)
    if math.isfinite(moments.odd_gain):
        bounds.append(4 * second_error * moments.odd_gain**2)
    return max(bounds)
