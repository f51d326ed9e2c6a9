"""The compiled loops behind `Ledger` on the CPU: each reads a tensor once and allocates nothing of its size."""

from typing import Any, TypeAlias

import numpy as np

from onesigma.numbers.kernel import compiled

__all__ = ["bin_counts", "channel_moments", "negative_counts", "row_sums", "slope_counts"]

Array: TypeAlias = np.ndarray[Any, Any]

_WIDTH = 512


@compiled
def _take(row: Array, place: int, step: int, sample: Array) -> None:
    """Put every step-th value of all, of which the row's first is number `place`, into the sample."""
    first = -place % step
    number = (place + first) // step
    for j in range(first, row.shape[0], step):
        sample[number] = row[j]
        number += 1


@compiled
def row_sums(rows: Array, begin: int, end: int, sample: Array, step: int) -> Array:
    """(0, mean, squares, within, between, minimum, maximum) of columns of samples by features; see `Moments`.

    The columns are named, not cut out, as vectors need rows without gaps. A block of columns is measured
    from its first row, so that equal samples differ by exactly 0. All is carried in float64. NaN and infinity are not
    looked for: where they were met, squares are not finite. With a step, every step-th value of all rows goes into
    `sample` on the way, while it is at hand.
    """
    num_rows, num_columns = rows.shape[0], end - begin
    share = 1.0 / num_rows
    first, drift, squares = np.empty(_WIDTH), np.empty(_WIDTH), np.empty(_WIDTH)
    low, high = np.full(_WIDTH, rows.dtype.type(np.inf)), np.full(_WIDTH, rows.dtype.type(-np.inf))
    # What blocks of columns add up to, place by place, so that vectors need no other order of sums.
    offset, spread, within, between = np.zeros(_WIDTH), np.zeros(_WIDTH), np.zeros(_WIDTH), np.zeros(_WIDTH)
    center = np.float64(rows[0, begin])
    whole = num_rows - num_rows % 4
    for start in range(begin, end, _WIDTH):
        width = min(_WIDTH, end - start)
        for j in range(width if not whole else 0):
            first[j] = rows[0, start + j]
            drift[j] = squares[j] = 0.0
        for i in range(0, whole, 4):  # four rows a turn, for which the sums are loaded and stored once
            row0, row1 = rows[i, start : start + width], rows[i + 1, start : start + width]
            row2, row3 = rows[i + 2, start : start + width], rows[i + 3, start : start + width]
            for j in range(width):
                low[j] = min(row0[j], row1[j], row2[j], row3[j], low[j])
                high[j] = max(row0[j], row1[j], row2[j], row3[j], high[j])
            if i == 0:  # in the first turn nothing is there to be loaded
                for j in range(width):
                    f = np.float64(row0[j])
                    d1, d2, d3 = np.float64(row1[j]) - f, np.float64(row2[j]) - f, np.float64(row3[j]) - f
                    first[j], drift[j], squares[j] = f, d1 + d2 + d3, d1 * d1 + d2 * d2 + d3 * d3
            else:
                for j in range(width):
                    d0, d1 = np.float64(row0[j]) - first[j], np.float64(row1[j]) - first[j]
                    d2, d3 = np.float64(row2[j]) - first[j], np.float64(row3[j]) - first[j]
                    drift[j] += (d0 + d1) + (d2 + d3)
                    squares[j] = squares[j] + d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3
            if step:
                place = i * rows.shape[1] + start
                _take(row0, place, step, sample)
                _take(row1, place + rows.shape[1], step, sample)
                _take(row2, place + 2 * rows.shape[1], step, sample)
                _take(row3, place + 3 * rows.shape[1], step, sample)
        for i in range(whole, num_rows):
            row = rows[i, start : start + width]
            if step:
                _take(row, i * rows.shape[1] + start, step, sample)
            for j in range(width):
                d = np.float64(row[j]) - first[j]
                low[j], high[j] = min(row[j], low[j]), max(row[j], high[j])
                drift[j] += d
                squares[j] += d * d
        for j in range(width):
            shift = drift[j] * share
            mean = first[j] + shift
            within[j] += squares[j] - drift[j] * shift
            between[j] += mean * mean
            offset[j] += mean - center
            spread[j] += (mean - center) * (mean - center)
    away = offset.sum() / num_columns
    total = within.sum() + num_rows * (spread.sum() - num_columns * away * away)
    ends = np.float64(low.min()), np.float64(high.max())
    return np.array([0.0, center + away, total, within.sum(), num_rows * between.sum(), ends[0], ends[1]])


@compiled
def bin_counts(values: Array, low: float, high: float, num_bins: int) -> Array:
    """Values per bin, of equal bins from `low` to `high`; what is not finite is in none."""
    counts = np.zeros((4, num_bins), dtype=np.int64)  # four, so that equal values need not wait for one another
    bins = np.empty(_WIDTH, dtype=np.int64)
    scale, last = num_bins / (high - low), num_bins - 1.0
    num_above = num_other = 0
    for start in range(0, values.shape[0], _WIDTH):
        width = min(_WIDTH, values.shape[0] - start)
        part = values[start : start + width]
        for j in range(width):
            value = np.float64(part[j])
            place = (value - low) * scale
            place = place if place > 0.0 else np.float64(0.0)
            bins[j] = np.int64(np.int32(place if place < last else last))
            num_above += value == np.inf
            num_other += not value > -np.inf
        whole = width - width % 4
        for j in range(0, whole, 4):
            counts[0, bins[j]] += 1
            counts[1, bins[j + 1]] += 1
            counts[2, bins[j + 2]] += 1
            counts[3, bins[j + 3]] += 1
        for j in range(whole, width):
            counts[0, bins[j]] += 1
    counts[0, 0] -= num_other
    counts[0, num_bins - 1] -= num_above
    total: Array = counts.sum(0).astype(np.float64)
    return total


@compiled
def channel_moments(values: Array) -> Array:
    """Per channel, mean and sum of squared distances from it; values are (outer, channel, inner)."""
    outer, num_channels, inner = values.shape
    first, drift, squares = np.empty(num_channels), np.zeros(num_channels), np.zeros(num_channels)
    for channel in range(num_channels):
        first[channel] = values[0, channel, 0]
    for i in range(outer):
        for channel in range(num_channels):
            row, start = values[i, channel], first[channel]
            shift0, shift1, square0, square1 = 0.0, 0.0, 0.0, 0.0
            for j in range(0, inner - 1, 2):  # two chains of sums, of which neither waits for the other
                d0, d1 = np.float64(row[j]) - start, np.float64(row[j + 1]) - start
                shift0, shift1 = shift0 + d0, shift1 + d1
                square0, square1 = square0 + d0 * d0, square1 + d1 * d1
            last = np.float64(row[inner - 1]) - start if inner % 2 else 0.0
            drift[channel] += shift0 + shift1 + last
            squares[channel] += square0 + square1 + last * last
    shift = drift / (outer * inner)
    return np.stack((first + shift, squares - drift * shift))


@compiled
def slope_counts(slopes: Array, small: float) -> Array:
    """Per unit, how many slopes are below `small`, and how many are 0; slopes are (outer, unit, inner) without gaps."""
    outer, num_units, inner = slopes.shape
    counts = np.zeros((2, num_units))
    if inner == 1:  # units side by side, as vectors want them
        rows = slopes.reshape(outer, num_units)
        for i in range(outer):
            for unit in range(num_units):
                counts[0, unit] += 1.0 if rows[i, unit] < small else 0.0
                counts[1, unit] += 1.0 if rows[i, unit] == 0 else 0.0
        return counts
    for i in range(outer):
        for unit in range(num_units):
            num_small, num_flat = 0, 0
            for j in range(inner):
                num_small += slopes[i, unit, j] < small
                num_flat += slopes[i, unit, j] == 0
            counts[0, unit] += num_small
            counts[1, unit] += num_flat
    return counts


@compiled
def negative_counts(values: Array) -> Array:
    """Per unit, how many values are 0 or less; values are (outer, unit, inner), without gaps."""
    outer, num_units, inner = values.shape
    counts = np.zeros(num_units)
    if inner == 1:
        rows = values.reshape(outer, num_units)
        for i in range(outer):
            for unit in range(num_units):
                counts[unit] += 1.0 if rows[i, unit] <= 0 else 0.0
        return counts
    for i in range(outer):
        for unit in range(num_units):
            num_negative = 0
            for j in range(inner):
                num_negative += values[i, unit, j] <= 0
            counts[unit] += num_negative
    return counts
