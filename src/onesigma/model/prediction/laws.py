"""Moments of functions of normal variables, elementwise: each element has a mean and a variance of its own."""

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch

__all__ = ["Function", "correlation_series", "fourth_moment", "moments_through", "normal_nodes", "once", "some_of"]

Function = Callable[[torch.Tensor], torch.Tensor]

_STEP, _REACH = 0.23, 5.0
# With a node at this share of a step from 0, the leading error of the sum vanishes for a kink there, as of ReLU.
_KINK = 0.2113248654
_DEGREE = 10
_SAMPLED = 512  # elements, where a few do
_GOLDEN = (math.sqrt(5) - 1) / 2


@cache
def normal_nodes() -> tuple[tuple[float, float], ...]:
    """Points and weights for a standard normal: an equidistant sum, exact to rounding for smooth functions."""
    count = round(_REACH / _STEP)
    points = [(k + _KINK) * _STEP for k in range(-count, count)]
    weights = [math.exp(-point * point / 2) for point in points]
    total = math.fsum(weights)
    # Centered and rescaled, so that mean 0 and variance 1 of the nodes are exact.
    mean = math.fsum(weight * point for point, weight in zip(points, weights, strict=True)) / total
    second = math.fsum(weight * (point - mean) ** 2 for point, weight in zip(points, weights, strict=True)) / total
    return tuple(
        ((point - mean) / math.sqrt(second), weight / total) for point, weight in zip(points, weights, strict=True)
    )


def moments_through(
    function: Function,
    mean: torch.Tensor,
    variance: torch.Tensor,
    *,
    nodes: Sequence[tuple[float, float]] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of f(x), x ~ N(mean, variance), elementwise; or with another standard variable's nodes."""
    std = variance.clamp(min=0).sqrt()
    first, second = torch.zeros_like(mean), torch.zeros_like(mean)
    # Measured from the value at the mean: the variance of a small signal on a large mean keeps its digits.
    center = function(mean.clone())
    for point, weight in nodes or normal_nodes():
        value = function(mean + point * std) - center
        first += weight * value
        second += weight * value * value
    return center + first, (second - first * first).clamp(min=0)


def some_of(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A few elements of tensors of one shape, as vectors: spread evenly, and in step with none of the axes.

    Every k-th element would be that of the corner of each map, where borders make it unlike the others.
    """
    count = tensors[0].numel()
    if count <= _SAMPLED:
        return tuple(tensor.reshape(-1) for tensor in tensors)
    places = torch.arange(_SAMPLED, dtype=torch.float64).mul(_GOLDEN).remainder(1).mul(count).long()
    index = torch.unravel_index(places, tensors[0].shape)
    return tuple(tensor[index] for tensor in tensors)


def correlation_series(
    function: Function, mean: torch.Tensor, variance: torch.Tensor, *, quantile: Function | None = None
) -> list[float]:
    """Coefficients c_k, Σ c_k = 1, with correlation(f(u), f(v)) = Σ c_k ρ^k for u, v of correlation ρ.

    They are the shares of the Hermite polynomials in the variance of f, averaged over a sample of the elements; u and
    v are normal, or `quantile` of a normal.
    """
    mean, variance = some_of(mean, variance)
    points = torch.linspace(-8, 8, 161, dtype=torch.float64)
    weights = torch.exp(-(points**2) / 2)
    weights /= weights.sum()
    places = (points if quantile is None else quantile(points)).float()
    values = function(mean[:, None] + places * variance.clamp(min=0).sqrt()[:, None]).double()
    values = values.reshape(len(mean), -1) * torch.ones_like(points)
    total = float(((values**2) @ weights - (values @ weights) ** 2).mean())
    if not total > 0 or not math.isfinite(total):
        return [0.0, 1.0]
    previous, current, shares = torch.ones_like(points), points, [0.0]
    for degree in range(1, _DEGREE + 1):
        shares.append(float(((values * current) @ weights).square().mean()) / total)
        # Normalized Hermite polynomials: √(k+1) h_{k+1} = x h_k − √k h_{k−1}.
        previous, current = current, (points * current - math.sqrt(degree) * previous) / math.sqrt(degree + 1)
    rest = max(0.0, 1 - math.fsum(shares))
    return [*shares, 0.0, 0.0, rest]


def fourth_moment(
    function: Function,
    mean: torch.Tensor,
    variance: torch.Tensor,
    *,
    nodes: Sequence[tuple[float, float]] | None = None,
) -> float:
    """1 + Var[f²]/E[f²]², over a sample of the elements: 3 for centered normals, of whatever variances."""
    mean, variance = some_of(mean, variance)
    std = variance.clamp(min=0).sqrt()
    second, fourth = torch.zeros(len(mean), dtype=torch.float64), torch.zeros(len(mean), dtype=torch.float64)
    for point, weight in nodes or normal_nodes():
        squares = function(mean + point * std).double().square()
        second, fourth = second + weight * squares, fourth + weight * squares.square()
    whole = float(second.mean()) ** 2
    return 1 + float((fourth - second.square()).mean()) / whole if whole > 0 else 1.0


def once(function: Callable[..., tuple[torch.Tensor, ...]], *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """`function(*tensors)`, computed for the first sample alone where all samples share their memory."""
    shape = tensors[0].shape
    shared = bool(shape) and shape[0] > 1 and all(t.shape == shape and t.stride(0) == 0 for t in tensors)
    if not shared:
        return function(*tensors)
    found = function(*(tensor[:1] for tensor in tensors))
    return tuple(each.expand(shape[0], *each.shape[1:]) for each in found)
