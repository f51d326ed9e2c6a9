"""The numbers of the normal quantile that turns 32 random bits into one normal, in single precision.

The top bit is the sign (1 is negative); the other 31 say in which of 2³¹ cells of equal probability, counted from the
middle, the absolute value lies. It is Φ⁻¹ at the middle of cell c: with x = (c + ½)/2³¹, |z| = Φ⁻¹((1 + x)/2).
With r = 4 + log₂(1 − x²) ∈ [−27, 4], three fits give it:

* r is the bits of 1 − x² as an integer, which are its logarithm but for `LOGARITHM`(mantissa − 1½);
* |z| = x · `CENTER`(r) where 1 − x ≥ 2⁻⁹, so |z| < 3.1; x comes in units of 2⁻³¹, which the coefficients undo;
* |z| = `TAIL_TOP`(r) / `TAIL_BOTTOM`(r) beyond, up to 6.34 in the last cell.

Every step is one rounding that IEEE 754 fixes (integer operations, +, −, ×, ÷ and fused multiply-add, in the order of
Estrin's scheme), so compiled code and tensor operations give the same bits on every device. The result is within
6e-7·|z| of Φ⁻¹.
"""

__all__ = [
    "CENTER",
    "LAST_CELL",
    "LOGARITHM",
    "MANTISSA",
    "ONE_BITS",
    "R_ZERO_BITS",
    "SIGN",
    "TAIL",
    "TAIL_BOTTOM",
    "TAIL_TOP",
]

SIGN = 0x80000000
LAST_CELL = 0x7FFFFFFF

MANTISSA = 0x7FFFFF
ONE_BITS = 0x3F800000
"""The bits of 1.0 in single precision."""

R_ZERO_BITS = (127 + 58) << 23
"""The bits of 2⁵⁸: 1 − x² comes in units of 2⁻⁶², and r adds 4."""

TAIL = 1 << 22
"""Cells from the last one that the tail's fit serves: 1 − x < 2⁻⁹."""

LOGARITHM = (
    0.08496276289224625,
    -0.0382046215236187,
    -0.32063233852386475,
    0.14254532754421234,
    -0.07058960944414139,
    0.037311285734176636,
    -0.02512337826192379,
    0.015125362202525139,
)

CENTER = (
    1.0327995125791745e-09,
    -1.114247999423057e-10,
    -1.6157192771204532e-12,
    2.2395877741308162e-13,
    3.171571891832231e-14,
    9.611423671722027e-16,
    -1.9535074540411626e-16,
    -1.786879364267868e-17,
    4.13153761708239e-19,
)

TAIL_TOP = (2.149127721786499, -0.6569202542304993, 0.04665480554103851, -0.0005567412590608001)
TAIL_BOTTOM = (1.0, -0.17569081485271454, 0.005692572798579931, -1.724131652736105e-05)
