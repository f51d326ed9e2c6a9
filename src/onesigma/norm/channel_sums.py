"""What normalization makes of sums per channel, in double precision: shares merged, coefficients, running statistics.

Compiled, since a dozen steps over a few hundred numbers otherwise take longer than the loops over a small batch.
Arrays of two rows hold (mean, variance), (1/√(var + eps), γ/√(var + eps)) or (Σ g, Σ g·x̂); tables of three rows hold
the coefficients of loops, in the dtype of the batch.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from onesigma.numbers.kernel import Array, compiled

__all__ = ["gradient_table", "gradient_totals", "merged", "moved", "output_table"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    """Nothing is reordered: what is computed so is what torch computes of the same numbers."""
    return compiled(function, fastmath=())


@_compiled
def merged(counts: Array, parts: Array) -> tuple[int, Array]:
    """Mean and variance of all shares (S, 2, C) of mean and squared distances, as Chan et al. merge them; the count."""
    moments, count = np.zeros(parts.shape[1:]), 0
    for share in range(counts.size):
        more = counts[share]
        whole = count + more
        for c in range(moments.shape[1] if more else 0):
            away = parts[share, 0, c] - moments[0, c]
            moments[0, c] += away * (more / whole)
            moments[1, c] += parts[share, 1, c] + away * away * (count * (more / whole))
        count = whole
    moments[1] /= max(count, 1)
    return count, moments


@_compiled
def output_table(moments: Array, eps: float, weight: Any, bias: Any, table: Array) -> Array:
    """Write mean, scale and shift, for (x − mean)·scale + shift; return 1/√(var + eps), and the same times γ."""
    kept = np.empty(moments.shape)
    for c in range(moments.shape[1]):
        near = table.dtype.type(moments[0, c])
        inverse = 1.0 / np.sqrt(moments[1, c] + eps)
        scale = inverse if weight is None else inverse * np.float64(weight[c])
        # What rounding the mean left out goes into the constant.
        shift = (np.float64(near) - moments[0, c]) * scale
        kept[0, c], kept[1, c] = inverse, scale
        table[0, c], table[1, c] = near, scale
        table[2, c] = shift if bias is None else shift + np.float64(bias[c])
    return kept


@_compiled
def gradient_totals(sums: Array, moments: Array, kept: Array, table: Array) -> Array:
    """Σ g and Σ g·x̂, the gradients of β and γ, of shares (S, 2, C) of Σ g and Σ g·(x − mean as rounded)."""
    totals = np.zeros(moments.shape)
    for share in range(sums.shape[0]):
        totals += sums[share]
    for c in range(moments.shape[1]):
        left = np.float64(table[0, c]) - moments[0, c]
        totals[1, c] = (totals[1, c] + left * totals[0, c]) * kept[0, c]
    return totals


@_compiled
def gradient_table(totals: Array, count: float, moments: Array, kept: Array, table: Array) -> Array:
    """Scale, level and slope, for scale·g − slope·(x − mean as rounded) − level."""
    down = np.empty_like(table)
    for c in range(moments.shape[1]):
        left = np.float64(table[0, c]) - moments[0, c]
        scale = kept[1, c]
        slope = scale * kept[0, c] * totals[1, c] / count
        down[0, c], down[1, c], down[2, c] = scale, scale * totals[0, c] / count + slope * left, slope
    return down


@_compiled
def moved(mean: Array, variance: Array, moments: Array, weight: float, unbiased: float) -> None:
    """running += weight·(batch − running), the variance of the batch times `unbiased`."""
    for c in range(mean.size):
        mean[c] = (1 - weight) * np.float64(mean[c]) + weight * moments[0, c]
        variance[c] = (1 - weight) * np.float64(variance[c]) + weight * (moments[1, c] * unbiased)
