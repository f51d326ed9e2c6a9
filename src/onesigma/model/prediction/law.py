"""The law of a signal that is not normal, as the values that it takes at the quantiles of a normal one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from onesigma.model.prediction.laws import Function, normal_nodes, some_of

__all__ = ["Law", "law_of_mean", "law_of_product", "law_of_sum", "law_through"]

_NORMAL = 0.05  # skewness, and kurtosis above 3, up to which a law is called normal


@dataclass(frozen=True)
class Law:
    """A standardized law, the same for all elements of a signal: element i is mean_i + std_i·Q(z) for a normal z.

    Attributes:
        quantiles: Q at the nodes of a standard normal; mean 0 and variance 1 under their weights.
    """

    quantiles: tuple[float, ...]

    @cached_property
    def nodes(self) -> tuple[tuple[float, float], ...]:
        """Points and weights."""
        return tuple((q, weight) for q, (_, weight) in zip(self.quantiles, normal_nodes(), strict=True))

    @property
    def excess(self) -> float:
        """Kurtosis above that of a normal."""
        return math.fsum(weight * point**4 for point, weight in self.nodes) - 3

    @property
    def opposite(self) -> "Law | None":
        """Of −x."""
        return _fitted(-torch.tensor(self.quantiles, dtype=torch.float64), _weights())

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Q, between the nodes by straight lines; beyond them as far from the last one as the normal is."""
        places = torch.tensor([point for point, _ in normal_nodes()], dtype=points.dtype)
        values = torch.tensor(self.quantiles, dtype=points.dtype)
        right = torch.searchsorted(places, points).clamp(1, len(places) - 1)
        share = (points - places[right - 1]) / (places[right] - places[right - 1])
        return values[right - 1] + share * (values[right] - values[right - 1])


def law_through(function: Function, mean: torch.Tensor, var: torch.Tensor, *, law: Law | None) -> Law | None:
    """Of f(x) for x of these moments and this law, on average over a sample of the elements."""
    mean, var = some_of(mean, var)
    std = var.clamp(min=0).sqrt()
    values = function(mean[:, None] + std[:, None] * _points(law)).double()
    weights = _weights().expand(values.shape)
    center = (values * weights).sum(1, keepdim=True)
    size = ((values - center).square() * weights).sum(1, keepdim=True).sqrt()
    whole = (size > 1e-6 * size.max().clamp(min=1e-30))[:, 0]
    return _fitted(((values - center) / size)[whole].reshape(-1), weights[whole].reshape(-1))


def law_of_sum(parts: Sequence[tuple[Law | None, float]]) -> Law | None:
    """Of Σ factor_k·x_k for independent standardized x_k; their kurtosis and skewness fade in it."""
    (first, a), (second, b) = parts
    if first is None and second is None:
        return None
    values = a * _points(first).double()[:, None] + b * _points(second).double()[None, :]
    return _fitted(values.reshape(-1), (_weights()[:, None] * _weights()[None, :]).reshape(-1))


def law_of_mean(law: Law | None, count: float) -> Law | None:
    """Of a mean of as many independent values of this law; of fewer than two, of unequal shares with w² + v² = 1/count.

    Means of two are put together from means of two.
    """
    while law is not None and count > 1:
        square = 1 / min(count, 2.0)
        larger = (1 + math.sqrt(2 * square - 1)) / 2
        law, count = law_of_sum([(law, math.sqrt(larger)), (law, math.sqrt(1 - larger))]), count / 2
    return law


def law_of_product(parts: Sequence[tuple[Law | None, float]]) -> Law | None:
    """Of (r₁ + x₁)·(r₂ + x₂) for independent standardized x_k, from the means r_k in stds."""
    (first, a), (second, b) = parts
    values = (a + _points(first).double())[:, None] * (b + _points(second).double())[None, :]
    return _fitted(values.reshape(-1), (_weights()[:, None] * _weights()[None, :]).reshape(-1))


def _points(law: Law | None) -> torch.Tensor:
    return torch.tensor([point for point, _ in (normal_nodes() if law is None else law.nodes)])


def _weights() -> torch.Tensor:
    return torch.tensor([weight for _, weight in normal_nodes()], dtype=torch.float64)


def _fitted(values: torch.Tensor, weights: torch.Tensor) -> Law | None:
    """The quantiles of weighted values: between two edges of the normal's bins, their mean. None for a normal."""
    if not values.numel() or not bool(values.isfinite().all()):
        return None
    order = values.argsort()
    values, weights = values[order], weights[order] / weights.sum()
    values = values - values @ weights
    values = values / (values.square() @ weights).sqrt().clamp(min=1e-30)
    if abs(float(values**3 @ weights)) < _NORMAL and abs(float(values**4 @ weights) - 3) < _NORMAL:
        return None
    edges = torch.cat([torch.zeros(1, dtype=torch.float64), weights.cumsum(0)])
    integral = torch.cat([torch.zeros(1, dtype=torch.float64), (values * weights).cumsum(0)])
    bins = _weights()
    inner = bins.cumsum(0)[:-1]
    right = torch.searchsorted(edges, inner).clamp(1, len(edges) - 1)
    share = (inner - edges[right - 1]) / (edges[right] - edges[right - 1]).clamp(min=1e-30)
    at = integral[right - 1] + share * (integral[right] - integral[right - 1])
    found = torch.diff(at, prepend=at.new_zeros(1), append=at.new_zeros(1)) / bins
    found = found / math.sqrt(float(found.square() @ bins))
    return Law(tuple(found.tolist()))
