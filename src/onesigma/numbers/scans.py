"""Compiled loops over the values: bounds and exact sums of limbs, many lanes side by side; see `kernel`."""

import numpy as np

from onesigma.numbers.kernel import Array, compiled

__all__ = ["beside", "clean", "scan_doubles", "scan_floats"]

_BASE = 2.0**-52 / 2.25  # makes 2^(2E+12) of sigma²: sums of squares that start there end below the next power of two


@compiled
def scan_floats(
    table: Array, rows: tuple[int, int], lanes: tuple[int, int], sigma: Array, bounds: Array, sums: Array
) -> None:
    """Bounds, and sums in two parts, of `table[rows, lanes]` per lane; `sigma` is 1.5·2^(E+32)."""
    bounds[0, :], bounds[1, :], bounds[2, :] = np.inf, -np.inf, np.inf
    sums[:] = 0
    low, high, least = bounds[0], bounds[1], bounds[2]
    plain, coarse, fine = sums[0], sums[2], sums[4]
    none = np.float32(np.inf)
    for j in range(lanes[1] - lanes[0]):
        coarse[j] = (sigma[j] * sigma[j]) * _BASE
    quarter = (rows[1] - rows[0]) // 4
    for i in range(rows[0], rows[0] + quarter):  # four streams far apart, each of which the hardware fetches ahead
        row0, row1 = table[i, lanes[0] : lanes[1]], table[i + quarter, lanes[0] : lanes[1]]
        row2, row3 = table[i + 2 * quarter, lanes[0] : lanes[1]], table[i + 3 * quarter, lanes[0] : lanes[1]]
        for j in range(row0.size):
            x0, x1, x2, x3 = row0[j], row1[j], row2[j], row3[j]
            low[j] = min(x0, x1, x2, x3, low[j])
            high[j] = max(x0, x1, x2, x3, high[j])
            m0, m1 = abs(x0) if x0 != 0 else none, abs(x1) if x1 != 0 else none
            m2, m3 = abs(x2) if x2 != 0 else none, abs(x3) if x3 != 0 else none
            least[j] = min(m0, m1, m2, m3, least[j])
        for j in range(row0.size):  # apart from the bounds, which fit twice as many floats into a register
            y0, y1, y2, y3 = np.float64(row0[j]), np.float64(row1[j]), np.float64(row2[j]), np.float64(row3[j])
            s0 = coarse[j]
            s1 = s0 + y0 * y0
            s2 = s1 + y1 * y1
            s3 = s2 + y2 * y2
            s4 = s3 + y3 * y3
            coarse[j] = s4
            left0, left1, left2, left3 = (
                y0 * y0 - (s1 - s0),
                y1 * y1 - (s2 - s1),
                y2 * y2 - (s3 - s2),
                y3 * y3 - (s4 - s3),
            )
            fine[j] = fine[j] + left0 + left1 + left2 + left3
            plain[j] = plain[j] + y0 + y1 + y2 + y3
    for j in range(lanes[1] - lanes[0]):
        coarse[j] -= (sigma[j] * sigma[j]) * _BASE


@compiled
def scan_doubles(
    table: Array, rows: tuple[int, int], lanes: tuple[int, int], sigma: Array, bounds: Array, sums: Array
) -> None:
    """Bounds, and sums of four limbs, of `table[rows, lanes]` per lane; `sigma` is 1.5·2^(E+32)."""
    bounds[0, :], bounds[1, :], bounds[2, :] = np.inf, -np.inf, np.inf
    sums[:] = 0
    low, high, least = bounds[0], bounds[1], bounds[2]
    plain, rest = sums[0], sums[1]
    aa, ab, ac, ad, bd, cd, dd = sums[2], sums[3], sums[4], sums[5], sums[6], sums[7], sums[8]
    half = (rows[1] - rows[0]) // 2
    for i in range(rows[0], rows[0] + half):
        row0, row1 = table[i, lanes[0] : lanes[1]], table[i + half, lanes[0] : lanes[1]]
        for j in range(row0.size):
            x0, x1 = row0[j], row1[j]
            low[j] = min(x0, x1, low[j])
            high[j] = max(x0, x1, high[j])
            m0, m1 = abs(x0) if x0 != 0 else np.inf, abs(x1) if x1 != 0 else np.inf
            least[j] = min(m0, m1, least[j])
            cut = sigma[j]
            a0, a1 = (x0 + cut) - cut, (x1 + cut) - cut
            r0, r1 = x0 - a0, x1 - a1
            cut = cut * 2.0**-22
            b0, b1 = (r0 + cut) - cut, (r1 + cut) - cut
            r0, r1 = r0 - b0, r1 - b1
            plain[j] += (x0 - r0) + (x1 - r1)
            rest[j] += r0 + r1
            cut = cut * 2.0**-22
            c0, c1 = (r0 + cut) - cut, (r1 + cut) - cut
            d0, d1 = r0 - c0, r1 - c1
            # Products of one weight share a sum: 2ac + bb, ad + bc, 2bd + cc; at most four of 42 bits, 53 with rows.
            aa[j] += a0 * a0 + a1 * a1
            ab[j] += a0 * b0 + a1 * b1
            ac[j] += (b0 * b0 + (a0 + a0) * c0) + (b1 * b1 + (a1 + a1) * c1)
            ad[j] += (a0 * d0 + b0 * c0) + (a1 * d1 + b1 * c1)
            bd[j] += (c0 * c0 + (b0 + b0) * d0) + (c1 * c1 + (b1 + b1) * d1)
            cd[j] += c0 * d0 + c1 * d1
            dd[j] += d0 * d0 + d1 * d1


@compiled
def clean(block: Array, bounds: Array, counts: Array) -> None:
    """Zero what is not finite in a block of doubles; per lane, count NaN, +inf and −inf and note bounds of the rest."""
    nans, pos_infs, neg_infs = counts[0], counts[1], counts[2]
    low, high, least = bounds[0], bounds[1], bounds[2]
    for i in range(block.shape[0]):
        row = block[i]
        for j in range(row.size):  # plain selections, without min and max, are what the compiler makes vectors of
            x, size = row[j], abs(row[j])
            bottom, top = x if size < np.inf else np.inf, x if size < np.inf else -np.inf
            low[j] = bottom if bottom < low[j] else low[j]
            high[j] = top if top > high[j] else high[j]
            size = size if x != 0.0 else np.inf
            least[j] = size if size < least[j] else least[j]
        for j in range(row.size):
            x = row[j]
            nans[j] += 1 if x != x else 0
            pos_infs[j] += 1 if x == np.inf else 0
            neg_infs[j] += 1 if x == -np.inf else 0
            row[j] = x if abs(x) < np.inf else 0.0


@compiled
def beside(columns: Array, table: Array) -> None:
    """Write the first values of columns (columns, padded rows) into a table (rows, columns), a piece of the cache each.

    A padding keeps the columns from colliding in the cache, where they lie a power of two apart.
    """
    side, height, width = 16, table.shape[0], table.shape[1]
    for top in range(0, height, side):
        for left in range(0, width, side):
            for i in range(top, min(top + side, height)):
                for j in range(left, min(left + side, width)):
                    table[i, j] = columns[j, i]
