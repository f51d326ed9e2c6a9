"""The compiled loops behind `Ledger` on the CPU: each reads a tensor once and allocates nothing of its size."""

from typing import Any, TypeAlias

import numpy as np

from onesigma.numbers.kernel import compiled

__all__ = ["bin_counts", "negative_counts", "row_sums", "slope_counts"]

Array: TypeAlias = np.ndarray[Any, Any]

_WIDTH = 512


@compiled
def row_sums(rows: Array) -> Array:
    """(0, mean, squares, within, between, minimum, maximum) of samples by features; see `Moments` for the sums.

    A block of columns is measured from its first row, so that equal samples differ by exactly 0. All is carried in
    float64. NaN and infinity are not looked for: where they were met, squares are not finite.
    """
    num_rows, num_columns = rows.shape
    first, drift, squares = np.empty(_WIDTH), np.empty(_WIDTH), np.empty(_WIDTH)
    low, high = np.full(_WIDTH, np.inf), np.full(_WIDTH, -np.inf)
    center, offset, spread, within, between = np.float64(rows[0, 0]), 0.0, 0.0, 0.0, 0.0
    for start in range(0, num_columns, _WIDTH):
        width = min(_WIDTH, num_columns - start)
        for j in range(width):
            first[j] = rows[0, start + j]
            drift[j] = squares[j] = 0.0
        for i in range(num_rows):
            row = rows[i, start : start + width]
            for j in range(width):
                x = np.float64(row[j])
                d = x - first[j]
                drift[j] += d
                squares[j] += d * d
                low[j] = min(low[j], x)
                high[j] = max(high[j], x)
        for j in range(width):
            shift = drift[j] / num_rows
            mean = first[j] + shift
            within += squares[j] - drift[j] * shift
            between += mean * mean
            offset += mean - center
            spread += (mean - center) * (mean - center)
    offset /= num_columns
    total = within + num_rows * (spread - num_columns * offset * offset)
    return np.array([0.0, center + offset, total, within, num_rows * between, low.min(), high.max()])


@compiled
def bin_counts(values: Array, low: float, high: float, num_bins: int) -> Array:
    """Values per bin, of equal bins from `low` to `high`; what is not finite is in none."""
    counts = np.zeros(num_bins)
    scale = num_bins / (high - low)
    for i in range(values.shape[0]):
        place = (np.float64(values[i]) - low) * scale
        if np.isfinite(place):
            counts[min(max(int(place), 0), num_bins - 1)] += 1.0
    return counts


@compiled
def slope_counts(slopes: Array, small: float) -> Array:
    """Per unit, how many slopes are below `small`, and how many are 0; slopes are (outer, unit, inner)."""
    counts = np.zeros((2, slopes.shape[1]))
    for i in range(slopes.shape[0]):
        for unit in range(slopes.shape[1]):
            num_small, num_flat = 0, 0
            for slope in slopes[i, unit]:
                num_small += slope < small
                num_flat += slope == 0
            counts[0, unit] += num_small
            counts[1, unit] += num_flat
    return counts


@compiled
def negative_counts(values: Array) -> Array:
    """Per unit, how many values are 0 or less; values are (outer, unit, inner)."""
    counts = np.zeros(values.shape[1])
    for i in range(values.shape[0]):
        for unit in range(values.shape[1]):
            num_negative = 0
            for value in values[i, unit]:
                num_negative += value <= 0
            counts[unit] += num_negative
    return counts
