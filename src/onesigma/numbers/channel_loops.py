"""The loops of `masked` where all positions count: each reads a tensor once and allocates nothing of its size.

All take x (N, C, L), contiguous.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from onesigma.numbers.kernel import Array, compiled

__all__ = ["gradient_sums", "input_gradient", "moments", "standardized"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    """As in `masked`: right to rounding, and not exact."""
    return compiled(function, fastmath={"contract", "reassoc"})


@_compiled
def moments(x: Array, mean: Array, spread: Array) -> int:
    """Write the mean and the sum of squares about it per channel, in double precision; return values per channel.

    A row at a time, twice while it is in the cache, and rows merged as Chan, Golub & LeVeque do (1983): no large mean
    cancels.
    """
    mean[:], spread[:] = 0.0, 0.0
    more = x.shape[2]
    for n in range(x.shape[0]):
        before, whole = n * more, (n + 1) * more
        for c in range(x.shape[1]):
            row, total, squares = x[n, c], 0.0, 0.0
            for i in range(row.size):
                total += np.float64(row[i])
            center = total / more
            near = x.dtype.type(center)
            for i in range(row.size):
                off = row[i] - near
                squares += np.float64(off * off)
            away = center - mean[c]
            mean[c] += away * (more / whole)
            spread[c] += squares - more * (center - near) ** 2 + away * away * (before * (more / whole))
    return int(x.shape[0] * more)


@_compiled
def standardized(x: Array, mean: Array, scale: Array, shift: Array, out: Array) -> None:
    """(x − mean)·scale + shift."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            row, target = x[n, c], out[n, c]
            center, times, plus = mean[c], scale[c], shift[c]
            for i in range(row.size):
                target[i] = (row[i] - center) * times + plus


@_compiled
def gradient_sums(gradient: Array, x: Array, mean: Array, total: Array, slope: Array) -> None:
    """Write Σ g and Σ g·(x − mean) per channel, in double precision."""
    total[:], slope[:] = 0.0, 0.0
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            row, above, center = x[n, c], gradient[n, c], mean[c]
            sums, products = 0.0, 0.0
            for i in range(row.size):
                sums += np.float64(above[i])
                products += np.float64(above[i] * (row[i] - center))
            total[c] += sums
            slope[c] += products


@_compiled
def input_gradient(
    gradient: Array, x: Array, mean: Array, scale: Array, level: Array, slope: Array, out: Array
) -> None:
    """scale·g − slope·(x − mean) − level."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            row, above, target = x[n, c], gradient[n, c], out[n, c]
            center, times, minus, steep = mean[c], scale[c], level[c], slope[c]
            for i in range(row.size):
                target[i] = above[i] * times - (row[i] - center) * steep - minus
