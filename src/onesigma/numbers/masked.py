"""Compiled loops of normalization by some positions alone: each reads a tensor once and allocates nothing of its size.

All take x (N, C, L), contiguous, and a mask (N, L) of bytes, 1 where a position counts; what stands elsewhere, NaN
included, is never part of a result.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from onesigma.numbers.kernel import Array, compiled

__all__ = ["gradient_sums", "input_gradient", "moments", "standardized"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    """`numba.njit` that may reorder sums, as vectors do; what comes out is right to rounding, and not exact."""
    return compiled(function, fastmath={"contract", "reassoc"})


@_compiled
def moments(x: Array, mask: Array, mean: Array, spread: Array) -> int:
    """Write the mean and the sum of squares about it per channel, in double precision; return how many values count.

    A row at a time, twice while it is in the cache, and rows merged as Chan, Golub & LeVeque do (1983): no large mean
    cancels.
    """
    zero = x.dtype.type(0)
    mean[:], spread[:] = 0.0, 0.0
    count = 0
    for n in range(x.shape[0]):
        valid, more = mask[n], 0
        for i in range(valid.size):
            more += valid[i]
        if more == 0:
            continue
        whole = count + more
        for c in range(x.shape[1]):
            row, total, squares = x[n, c], 0.0, 0.0
            for i in range(row.size):
                total += np.float64(row[i] if valid[i] else zero)
            center = total / more
            near = x.dtype.type(center)
            for i in range(row.size):
                off = row[i] - near if valid[i] else zero
                squares += np.float64(off * off)
            away = center - mean[c]
            mean[c] += away * (more / whole)
            spread[c] += squares - more * (center - near) ** 2 + away * away * (count * (more / whole))
        count = whole
    return count


@_compiled
def standardized(x: Array, mask: Array, mean: Array, scale: Array, shift: Array, out: Array) -> None:
    """(x − mean)·scale + shift where the mask is 1, 0 elsewhere."""
    zero = x.dtype.type(0)
    for n in range(x.shape[0]):
        valid = mask[n]
        for c in range(x.shape[1]):
            row, target = x[n, c], out[n, c]
            center, times, plus = mean[c], scale[c], shift[c]
            for i in range(row.size):
                value = (row[i] - center) * times + plus
                target[i] = value if valid[i] else zero


@_compiled
def gradient_sums(gradient: Array, x: Array, mask: Array, mean: Array, total: Array, slope: Array) -> None:
    """Write Σ g and Σ g·(x − mean) per channel, in double precision."""
    zero = x.dtype.type(0)
    total[:], slope[:] = 0.0, 0.0
    for n in range(x.shape[0]):
        valid = mask[n]
        for c in range(x.shape[1]):
            row, above, center = x[n, c], gradient[n, c], mean[c]
            sums, products = 0.0, 0.0
            for i in range(row.size):
                g = above[i] if valid[i] else zero
                off = row[i] - center if valid[i] else zero
                sums += np.float64(g)
                products += np.float64(g * off)
            total[c] += sums
            slope[c] += products


@_compiled
def input_gradient(
    gradient: Array, x: Array, mask: Array, mean: Array, scale: Array, level: Array, slope: Array, out: Array
) -> None:
    """scale·g − slope·(x − mean) − level where the mask is 1, 0 elsewhere."""
    zero = x.dtype.type(0)
    for n in range(x.shape[0]):
        valid = mask[n]
        for c in range(x.shape[1]):
            row, above, target = x[n, c], gradient[n, c], out[n, c]
            center, times, minus, steep = mean[c], scale[c], level[c], slope[c]
            for i in range(row.size):
                value = above[i] * times - (row[i] - center) * steep - minus
                target[i] = value if valid[i] else zero
