"""The counter-based random numbers with tensor operations, for any device; the same bits as `random_compiled`."""

import torch
from torch import Tensor

from onesigma.numbers.probit import (
    CENTER,
    LAST_CELL,
    LOGARITHM,
    MANTISSA,
    ONE_BITS,
    R_ZERO_BITS,
    SIGN,
    TAIL,
    TAIL_BOTTOM,
    TAIL_TOP,
)

__all__ = ["finish", "normals", "philox", "stream", "truncate", "uniforms"]

_LOW = 0xFFFFFFFF


def philox(counter: Tensor, *, key: int) -> Tensor:
    """Philox4x32-10 (Salmon et al. 2011): the four words of each counter, as numbers below 2³² on a new last axis.

    Args:
        counter: Block numbers, int64; the two upper words of the 128-bit counter are zero.
        key: 64 bits, the lower word first.
    """
    a, b = counter & _LOW, (counter >> 32) & _LOW
    c, d = torch.zeros_like(a), torch.zeros_like(a)
    keys = key & _LOW, key >> 32
    for step in range(10):
        key_0, key_1 = (keys[0] + step * 0x9E3779B9) & _LOW, (keys[1] + step * 0xBB67AE85) & _LOW
        high_0, low_0 = _product(a, 0xD2511F53)
        high_1, low_1 = _product(c, 0xCD9E8D57)
        a, b, c, d = high_1 ^ b ^ key_0, low_1, high_0 ^ d ^ key_1, low_0
    return torch.stack((a, b, c, d), -1)


def _product(word: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Upper and lower word of a product of two 32-bit numbers, by halves: int64 has no room for all 64 bits."""
    upper, lower = (word >> 16) * factor, (word & 0xFFFF) * factor
    middle = upper + (lower >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (lower & 0xFFFF)


def stream(starts: Tensor, length: int, *, key: int) -> Tensor:
    """The 32-bit words of the stream: row i has those of the indices from `starts[i]` on, `length` of them."""
    num_blocks = (length + 6) // 4
    blocks = (starts >> 2)[:, None] + torch.arange(num_blocks, device=starts.device)
    columns = (starts & 3)[:, None] + torch.arange(length, device=starts.device)
    return philox(blocks, key=key).flatten(1).gather(1, columns)


def truncate(bits: Tensor, *, first: int, num_cells: int) -> Tensor:
    """Map all words onto the `num_cells` cells from `first` on, where 2³² cells are counted from −∞ to ∞."""
    if num_cells > _LOW:
        return bits
    place = first + _product(bits, num_cells)[0]
    return torch.where(place >= SIGN, place ^ SIGN, place ^ _LOW)


def uniforms(bits: Tensor) -> Tensor:
    """The multiples of 2⁻²⁴ in [0, 1)."""
    return (bits >> 8).float() * 2.0**-24


def normals(bits: Tensor) -> Tensor:
    """The standard normal of each 32-bit word; see `probit`."""
    cell = bits & LAST_CELL
    end = (cell ^ LAST_CELL).float() + 0.5
    variance = (end * (2.0**32 - end)).view(torch.int32)
    mantissa = ((variance & MANTISSA) | ONE_BITS).view(torch.float32)
    octaves = (variance - R_ZERO_BITS).float()
    r = _fma(octaves, torch.full_like(octaves, 2.0**-23), _polynomial(LOGARITHM, mantissa - 1.5))
    central = (cell.float() + 0.5) * _polynomial(CENTER, r)
    outer = _polynomial(TAIL_TOP, r) / _polynomial(TAIL_BOTTOM, r)
    size = torch.where(cell > LAST_CELL - TAIL, outer, central)
    return torch.where(bits >= SIGN, -size, size)


def finish(values: Tensor, *, scale: float, offset: float, minimum: float, maximum: float) -> Tensor:
    """Base values · scale + offset with one rounding, clamped."""
    return _fma(values, torch.full_like(values, scale), torch.full_like(values, offset)).clamp(minimum, maximum)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Estrin's scheme: neighbors are joined with x, then the results with x², x⁴, …"""
    terms = [torch.full_like(x, coefficient) for coefficient in coefficients]
    while len(terms) > 1:
        pairs = [_fma(high, x, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(pairs) * 2 :]
        x = x * x
    return terms[0]


def _fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a·b + c in single precision with one rounding, from double precision and rounding to odd.

    The product is exact. The sum may need more than 53 bits; setting its last bit where something is lost makes
    the second rounding, to 24 bits, the right one (Boldo and Melquiond 2008).
    """
    product, addend = a.double() * b.double(), c.double()
    total = product + addend
    back = total - product
    lost = (product - (total - back)) + (addend - back)
    bits = total.view(torch.int64)
    away = torch.where((lost > 0) == (total > 0), 1, -1)
    odd = torch.where((lost != 0) & ((bits & 1) == 0), bits + away, bits)
    return odd.view(torch.float64).float()
