"""Sums and products of two signals: what both are made of is counted once."""

import math
from dataclasses import replace

import torch

from onesigma.model.prediction.held import check_product, check_sum, held_by_product, held_by_sum
from onesigma.model.prediction.kernel import Kernel, blended, stacked
from onesigma.model.prediction.law import law_of_product, law_of_sum
from onesigma.model.prediction.laws import Function, moments_through
from onesigma.model.prediction.signal import Signal, fresh_key, identity
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["plus", "times"]

_ROUNDING = 1e-5  # relative, of float32 means that were computed in two orders
_UNEVEN = 1.0  # relative variance of the samples' sizes up to which its first order in products is enough
_LEVEL = 0.1  # of a sample's relative size, what a norm may leave of it and still be called one


def plus(x: Signal, y: Signal, *, factor: float = 1.0) -> Signal:
    """x + factor·y, with what both are made of counted once."""
    if x.key is y.key and x.function is None and y.function is None:
        return x.scaled(1 + factor)
    if (second := _function_of(x, y)) is not None and not (x.function is None and y.function is None):
        first = x.function or identity
        return replace(x, function=lambda v: first(v) + factor * second(v), raw=None, draws=None)
    if x.averaged is not None and x.averaged is y.averaged:
        raise Unpredictable("a sum of two averages of the same values")
    check_sum(x, y, factor=factor)
    a, b = x.plain, y.plain
    mean, var = a.base_mean + factor * b.base_mean, a.base_var + factor**2 * b.base_var
    terms = dict(a.sources)
    for key, (coefficient, source) in b.sources.items():
        own = terms.get(key)
        if own is not None:
            var = var + 2 * own[0] * factor * coefficient * source
        terms[key] = ((own[0] if own else 0.0) + factor * coefficient, source)
    a, b, wide = _side_by_side(a, b)
    kernel = _of_both(a, b, factor=factor)
    sizes = float(a.base_var.mean()), factor**2 * float(b.base_var.mean())
    # A large sample is large in both.
    root = (sizes[0] * math.sqrt(a.excess) + sizes[1] * math.sqrt(b.excess)) / max(sum(sizes), 1e-30)
    return Signal(
        base_mean=mean,
        base_var=var.clamp(min=0),
        sites=wide.sites.expand(mean.shape),
        kernel=kernel,
        terms=terms,
        held=held_by_sum(a, b, sizes=sizes),
        unevenness=root**2,
        law_from=lambda: law_of_sum([(a.law, sizes[0] ** 0.5), (b.law, math.copysign(sizes[1] ** 0.5, factor))]),
    )


def times(x: Signal, y: Signal) -> Signal:
    """x·y."""
    if (second := _function_of(x, y)) is not None:
        first = x.function or identity
        return replace(x, function=lambda v: first(v) * second(v), raw=None, draws=None)
    if (averaged := _by_average(x, y) or _by_average(y, x)) is not None:
        return averaged
    check_product(x, y)
    a, b, wide = _side_by_side(x.plain, y.plain)
    together = math.sqrt(a.excess * b.excess)
    parts = (a.var * b.mean**2, b.var * a.mean**2, a.var * b.var * (1 + together))
    weights = [float(part.mean()) for part in parts]
    # A large sample is large in each part by what is not certain there.
    root = (weights[0] + weights[2]) * math.sqrt(a.excess) + (weights[1] + weights[2]) * math.sqrt(b.excess)
    unevenness = (root / max(sum(weights), 1e-30)) ** 2
    if unevenness > _UNEVEN:
        raise Unpredictable("a product whose samples differ so much in size that the few largest decide")
    mean, var, own = a.mean * b.mean, parts[0] + parts[1] + parts[2], fresh_key()
    kernel = wide.kernel
    if a.kernel.values.shape == b.kernel.values.shape and a.kernel.grid == b.kernel.grid:
        both = Kernel(a.kernel.grid, a.kernel.values * b.kernel.values)
        kernel = blended([(a.kernel, weights[0]), (b.kernel, weights[1]), (both, weights[2])])
    return Signal(
        base_mean=mean,
        base_var=var,
        sites=wide.sites.expand(mean.shape),
        kernel=kernel,
        key=own,
        terms={**_shares(a, b.mean), **_shares(b, a.mean), own: (1.0, parts[2])},
        held=held_by_product(x, y, parts=weights),
        unevenness=unevenness,
        law_from=lambda: law_of_product([(each.law, _mean_in_stds(each)) for each in (a, b)]),
    )


def _function_of(x: Signal, y: Signal) -> Function | None:
    """y as a function of the base of x; None where it is none, element by element.

    Both may be functions of multiples of one source, as x and 1.7·x are: then one base is a multiple of the other.
    """
    if x.shape != y.shape:
        return None
    outer = y.function or identity
    if x.key is y.key:
        return outer
    if len(x.sources) != 1 or len(y.sources) != 1:
        return None
    ((source, (own, _)),), ((other, (multiple, _)),) = x.sources.items(), y.sources.items()
    if source is not other or isinstance(own, torch.Tensor) or isinstance(multiple, torch.Tensor) or own == 0:
        return None
    ratio = multiple / own
    shift = y.base_mean - ratio * x.base_mean
    constant = float(shift.mean())
    scale = max(float(y.base_mean.abs().max()), float(y.base_var.max()) ** 0.5, abs(constant), 1e-30)
    if float((shift - constant).abs().max()) > _ROUNDING * scale:
        return None
    return lambda v: outer(ratio * v + constant)


def _by_average(x: Signal, factor: Signal) -> Signal | None:
    """x·h(s) for the mean s of f(x) over features, as in a norm written out: x is large where s is.

    To first order in what s varies by, E[x²h²] = E[x²]E[h²] + Cov(x², s)·∂h²/∂s with Cov(x², s) = Cov(x², f(x))/n
    and what both are larger by in a large sample.
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
    together = together + average.lift * math.sqrt(x.unevenness) * x.base_var
    square = factor.var + factor.mean.square()
    mean = x.mean * factor.mean
    second = (x.var + x.mean.square()) * square + together * slope
    # As much as h² falls where s grows: 1 of a norm, which leaves no sample larger than another.
    left = 1 + float(slope.mean()) * average.mean / max(float(square.mean()), 1e-30)
    made = x.fresh(mean, (second - mean.square()).clamp(min=0))
    return replace(made, unevenness=x.unevenness * left**2, leveled=abs(left) < _LEVEL)


def _shares(x: Signal, mean: torch.Tensor) -> dict[object, tuple[float | torch.Tensor, torch.Tensor]]:
    """The sources of x in its product with what has this mean: x + x·g has x in both."""
    return {key: (coefficient * mean, var) for key, (coefficient, var) in x.sources.items()}


def _mean_in_stds(x: Signal) -> float:
    """On average over the elements."""
    return float(x.mean.mean() / x.var.mean().sqrt().clamp(min=1e-30))


def _side_by_side(a: Signal, b: Signal) -> tuple[Signal, Signal, Signal]:
    """Both on the positions of the one with more of them, which comes third.

    What is broadcast over positions, as a gate for each channel of a map, is the same at all of them.
    """
    if a.kernel.num_positions == b.kernel.num_positions:
        return a, b, a if a.base_mean.numel() >= b.base_mean.numel() else b
    wide, narrow = (a, b) if a.kernel.num_positions > b.kernel.num_positions else (b, a)
    shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
    places, own = (each.sites.expand(shape).reshape(-1) for each in (wide, narrow))
    sources = torch.full((int(places.max()) + 1,), -1)
    sources[places] = own
    first = sources[: wide.kernel.num_positions]
    if not torch.equal(sources[places], own) or bool((first < 0).any()):
        return a, b, wide  # positions of one are features of the other
    laid = replace(narrow, kernel=narrow.kernel.repeated(first, like=wide.kernel), sites=wide.sites)
    return (laid, b, wide) if narrow is a else (a, laid, wide)


def _of_both(a: Signal, b: Signal, *, factor: float) -> Kernel:
    """Of a + factor·b, position by position where these are tokens."""
    if a.kernel.num_positions != b.kernel.num_positions:
        return max((a, b), key=lambda each: each.kernel.num_positions).kernel
    if a.kernel.by_distance or a.kernel.grid != b.kernel.grid or a.kernel.num_positions < 2 or a.shape != b.shape:
        return blended([(a.kernel, float(a.base_var.mean())), (b.kernel, factor**2 * float(b.base_var.mean()))])
    return stacked([(a.kernel, a.profile), (b.kernel, factor**2 * b.profile)])
