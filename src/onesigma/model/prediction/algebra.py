"""Sums and products of two signals: what both are made of is counted once."""

import math
from dataclasses import replace

import torch

from onesigma.model.prediction.kernel import Kernel, blended, stacked
from onesigma.model.prediction.laws import moments_through
from onesigma.model.prediction.signal import Signal, identity
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["plus", "times"]

_LEVEL = 0.1  # of a sample's relative size, what a norm may leave of it and still be called one


def plus(x: Signal, y: Signal, *, factor: float = 1.0) -> Signal:
    """x + factor·y, with what both are made of counted once."""
    if x.key is y.key and x.function is None and y.function is None:
        return x.scaled(1 + factor)
    if x.key is y.key and x.shape == y.shape:
        first, second = x.function or identity, y.function or identity
        return replace(x, function=lambda v: first(v) + factor * second(v), raw=None, draws=None)
    if x.averaged is not None and x.averaged is y.averaged:
        raise Unpredictable("a sum of two averages of the same values")
    a, b = x.plain, y.plain
    mean, var = a.base_mean + factor * b.base_mean, a.base_var + factor**2 * b.base_var
    terms = dict(a.sources)
    for key, (coefficient, source) in b.sources.items():
        own = terms.get(key)
        if own is not None:
            var = var + 2 * own[0] * factor * coefficient * source
        terms[key] = ((own[0] if own else 0.0) + factor * coefficient, source)
    wide = a if a.shape == mean.shape else b
    kernel = _of_both(a, b, factor=factor)
    if kernel.num_positions != wide.kernel.num_positions:
        kernel = wide.kernel
    sizes = float(a.base_var.mean()), factor**2 * float(b.base_var.mean())
    # A large sample is large in both.
    root = (sizes[0] * math.sqrt(a.unevenness) + sizes[1] * math.sqrt(b.unevenness)) / max(sum(sizes), 1e-30)
    return Signal(
        base_mean=mean,
        base_var=var.clamp(min=0),
        sites=wide.sites.expand(mean.shape),
        kernel=kernel,
        terms=terms,
        unevenness=root**2,
    )


def times(x: Signal, y: Signal) -> Signal:
    """x·y."""
    if x.key is y.key and x.shape == y.shape:
        first, second = x.function or identity, y.function or identity
        return replace(x, function=lambda v: first(v) * second(v), raw=None, draws=None)
    if (averaged := _by_average(x, y) or _by_average(y, x)) is not None:
        return averaged
    a, b = x.plain, y.plain
    together = math.sqrt(a.unevenness * b.unevenness)
    parts = (a.var * b.mean**2, b.var * a.mean**2, a.var * b.var * (1 + together))
    mean, var = a.mean * b.mean, parts[0] + parts[1] + parts[2]
    wide = a if a.shape == mean.shape else b
    kernel = wide.kernel
    if a.kernel.values.shape == b.kernel.values.shape and a.kernel.grid == b.kernel.grid:
        both = replace(a.kernel, values=a.kernel.values * b.kernel.values)
        weights = [float(part.mean()) for part in parts]
        kernel = blended([(a.kernel, weights[0]), (b.kernel, weights[1]), (both, weights[2])])
    return Signal(
        base_mean=mean,
        base_var=var,
        sites=wide.sites.expand(mean.shape),
        kernel=kernel,
        unevenness=a.unevenness + b.unevenness + 2 * together,
    )


def _by_average(x: Signal, factor: Signal) -> Signal | None:
    """x·h(s) for the mean s of f(x) over features, as in a norm written out: x is large where s is.

    To first order in what s varies by, E[x²h²] = E[x²]E[h²] + Cov(x², s)·∂h²/∂s with Cov(x², s) = Cov(x², f(x))/n.
    """
    average = factor.average
    if average is None or average.key is not x.key or x.function is not None or not average.std > 0:
        return None

    def summed(sign: float) -> torch.Tensor:
        return moments_through(lambda v: v * v + sign * average.function(v), x.base_mean, x.base_var)[1]

    function = factor.function or identity
    step = 0.1 * factor.base_var.clamp(min=0).sqrt()
    high, low = function(factor.base_mean + step).square(), function(factor.base_mean - step).square()
    slope = (high - low) / (0.2 * average.std)
    together = (summed(1.0) - summed(-1.0)) / (4 * average.count)
    square = factor.var + factor.mean.square()
    mean = x.mean * factor.mean
    second = (x.var + x.mean.square()) * square + together * slope
    # As much as h² falls where s grows: 1 of a norm, which leaves no sample larger than another.
    left = 1 + float(slope.mean()) * average.mean / max(float(square.mean()), 1e-30)
    made = x.fresh(mean, (second - mean.square()).clamp(min=0))
    return replace(made, unevenness=x.unevenness * left**2, leveled=abs(left) < _LEVEL)


def _of_both(a: Signal, b: Signal, *, factor: float) -> Kernel:
    """Of a + factor·b, position by position where these are tokens."""
    if a.kernel.by_distance or a.kernel.grid != b.kernel.grid or a.kernel.num_positions < 2 or a.shape != b.shape:
        return blended([(a.kernel, float(a.base_var.mean())), (b.kernel, factor**2 * float(b.base_var.mean()))])
    return stacked([(a.kernel, a.profile), (b.kernel, factor**2 * b.profile)])
