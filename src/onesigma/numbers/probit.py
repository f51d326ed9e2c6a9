"""The numbers of the normal quantile that turns 32 random bits into one normal, in single precision.

Bits k stand for the middle of the k-th of 2³² cells of equal probability, p = (k + ½)/2³², and the normal is Φ⁻¹(p).
With x = 2p − 1 and r = 4 + log₂(1 − x²) ∈ [−27, 4], three fits give it:

* r = exponent + `LOGARITHM`(mantissa − 1), the mantissa in [√½, √2);
* z = x · `CENTER`(r) where 1 − |x| ≥ 2⁻⁹, so |z| < 3.1; x comes in units of 2⁻³¹, which the coefficients undo;
* z = ± `TAIL_TOP`(r) / `TAIL_BOTTOM`(r) beyond, up to |z| = 6.34 at the outermost cells.

Every step is one rounding that IEEE 754 fixes (integer operations, +, −, ×, ÷ and fused multiply-add, in the order of
Estrin's scheme), so compiled code and tensor operations give the same bits on every device. The result is within
5e-7·|z| of Φ⁻¹(p).
"""

__all__ = [
    "CENTER",
    "HALF_BITS",
    "LOGARITHM",
    "MANTISSA",
    "SIGN",
    "TAIL",
    "TAIL_BOTTOM",
    "TAIL_TOP",
]

SIGN = 0x80000000
MANTISSA = 0x7FFFFF

HALF_BITS = 0x3F3504F3
"""The bits of √½ in single precision: where mantissas are cut, so that they lie around 1."""

EXPONENT = 58
"""1 − x² comes in units of 2⁻⁶², and r adds 4."""

TAIL = 1 << 22
"""Cells to either end that the tail's fit serves: 1 − |x| < 2⁻⁹."""

LOGARITHM = (
    1.3237412588296138e-07,
    1.4427006244659424,
    -0.7213841676712036,
    0.48043549060821533,
    -0.3588048219680786,
    0.29743918776512146,
    -0.2736498713493347,
    0.1711239367723465,
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
