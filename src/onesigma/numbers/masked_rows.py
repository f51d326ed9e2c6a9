"""The loops of `masked` for x (N, C) and a mask (N,): rows that do not count are not read, and channels run innermost.

Contiguous x, a mask of bytes, 1 where a row counts; what stands in the others, NaN included, is never part of a result.
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
def moments(x: Array, mask: Array, mean: Array, spread: Array) -> int:
    """Write the mean and the sum of squares about it per channel, in double precision; return how many rows count."""
    mean[:], spread[:] = 0.0, 0.0
    count = 0
    for n in range(x.shape[0]):
        if mask[n]:
            count += 1
            for c in range(x.shape[1]):
                mean[c] += np.float64(x[n, c])
    if count == 0:
        return 0
    mean /= count
    for n in range(x.shape[0]):
        if mask[n]:
            for c in range(x.shape[1]):
                off = np.float64(x[n, c]) - mean[c]
                spread[c] += off * off
    return count


@_compiled
def standardized(x: Array, mask: Array, mean: Array, scale: Array, shift: Array, out: Array) -> None:
    """(x − mean)·scale + shift in the rows that count, 0 in the others."""
    for n in range(x.shape[0]):
        if mask[n]:
            for c in range(x.shape[1]):
                out[n, c] = (x[n, c] - mean[c]) * scale[c] + shift[c]
        else:
            out[n] = 0


@_compiled
def gradient_sums(gradient: Array, x: Array, mask: Array, mean: Array, total: Array, slope: Array) -> None:
    """Write Σ g and Σ g·(x − mean) per channel, in double precision."""
    total[:], slope[:] = 0.0, 0.0
    for n in range(x.shape[0]):
        if mask[n]:
            for c in range(x.shape[1]):
                total[c] += np.float64(gradient[n, c])
                slope[c] += np.float64(gradient[n, c] * (x[n, c] - mean[c]))


@_compiled
def input_gradient(
    gradient: Array, x: Array, mask: Array, mean: Array, scale: Array, level: Array, slope: Array, out: Array
) -> None:
    """scale·g − slope·(x − mean) − level in the rows that count, 0 in the others."""
    for n in range(x.shape[0]):
        if mask[n]:
            for c in range(x.shape[1]):
                out[n, c] = gradient[n, c] * scale[c] - (x[n, c] - mean[c]) * slope[c] - level[c]
        else:
            out[n] = 0
