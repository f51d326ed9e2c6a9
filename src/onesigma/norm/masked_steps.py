"""Masked normalization forward and backward in one compiled call each, for a batch that one thread works on.

Of a small batch the loops take less time than the calls between them would.
"""

from typing import Any

import numpy as np

from onesigma.norm.channel_sums import gradient_table, gradient_totals, merged, output_table
from onesigma.numbers import masked, masked_rows
from onesigma.numbers.kernel import Array, compiled

__all__ = ["differentiated", "normalized"]


@compiled
def normalized(
    x: Array, mask: Array, weight: Any, bias: Any, eps: float, out: Array
) -> tuple[int, Array, Array, Array]:
    """Write the output; return the number of values, and moments, coefficients and table as in `channel_sums`."""
    parts, table = np.empty((1, 2, x.shape[1])), np.empty((3, x.shape[1]), x.dtype)
    if x.ndim == 2:
        count = masked_rows.moments(x, mask, parts[0, 0], parts[0, 1])
    else:
        count = masked.moments(x, mask, parts[0, 0], parts[0, 1])
    moments = merged(np.array([count]), parts)[1]
    kept = output_table(moments, eps, weight, bias, table)
    if x.ndim == 2:
        masked_rows.standardized(x, mask, table[0], table[1], table[2], out)
    else:
        masked.standardized(x, mask, table[0], table[1], table[2], out)
    return count, moments, kept, table


@compiled
def differentiated(
    gradient: Array, x: Array, mask: Array, count: int, moments: Array, kept: Array, table: Array, out: Array
) -> Array:
    """Write the gradient of x; return those of β and γ."""
    sums = np.empty((1, 2, x.shape[1]))
    if x.ndim == 2:
        masked_rows.gradient_sums(gradient, x, mask, table[0], sums[0, 0], sums[0, 1])
    else:
        masked.gradient_sums(gradient, x, mask, table[0], sums[0, 0], sums[0, 1])
    totals = gradient_totals(sums, moments, kept, table)
    down = gradient_table(totals, count, moments, kept, table)
    if x.ndim == 2:
        masked_rows.input_gradient(gradient, x, mask, table[0], down[0], down[1], down[2], out)
    else:
        masked.input_gradient(gradient, x, mask, table[0], down[0], down[1], down[2], out)
    return totals.astype(x.dtype)
