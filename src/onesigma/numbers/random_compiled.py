"""Compiled loops of the counter-based random numbers; `random_tensor` does the same with tensor operations."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from onesigma.numbers.philox import eight_blocks
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

__all__ = ["NORMAL", "UNIFORM", "fill"]

_F = TypeVar("_F", bound=Callable[..., Any])

UNIFORM = 0
NORMAL = 1

_PIECE = 4096


def compiled(function: _F) -> _F:
    """`numba.njit` with the GIL released, IEEE 754 division and, where a folder can be written, code kept on disk."""
    options = {"nogil": True, "fastmath": False, "error_model": "numpy"}
    try:
        jitted: _F = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        jitted = numba.njit(**options)(function)
    return jitted


@intrinsic  # type: ignore[untyped-decorator]
def _fma(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c with one rounding."""
    return types.float32(types.float32, types.float32, types.float32), lambda _, build, __, args: build.fma(*args)


@intrinsic  # type: ignore[untyped-decorator]
def _bits_of(_context: Any, value: Any) -> Any:
    """The bits of a float32."""
    return types.int32(types.float32), lambda _, build, __, args: build.bitcast(args[0], ir.IntType(32))


@intrinsic  # type: ignore[untyped-decorator]
def _float_of(_context: Any, bits: Any) -> Any:
    """The float32 of these bits."""
    return types.float32(types.int32), lambda _, build, __, args: build.bitcast(args[0], ir.FloatType())


@intrinsic  # type: ignore[untyped-decorator]
def _lowest_one(_context: Any, word: Any) -> Any:
    """The place of the lowest bit that is 1."""
    zero_is_undefined = ir.Constant(ir.IntType(1), 1)
    return types.int64(types.uint64), lambda _, build, __, args: build.cttz(args[0], zero_is_undefined)


@intrinsic  # type: ignore[untyped-decorator]
def _fetch_to_write(_context: Any, values: Any, index: Any) -> Any:
    """Ask for the cache line of `values[index]`, which is written soon."""

    def emit(context: Any, build: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, build, args[0])
        place = build.bitcast(build.gep(array.data, [args[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        prefetch = build.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        build.call(prefetch, [place, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(values, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def _prefer_wide_vectors(_context: Any) -> Any:
    """Compile the calling function by itself and with 512-bit vectors, which the compiler shuns by default.

    This changes the speed, never a bit.
    """

    def emit(context: Any, build: Any, _: Any, __: Any) -> Any:
        build.function.attributes.add("noinline")
        # llvmlite's own `add` knows only attributes without a value.
        set.add(build.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), emit


_f32 = np.float32
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = (_f32(c) for c in LOGARITHM)
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8 = (_f32(c) for c in CENTER)
_T0, _T1, _T2, _T3 = (_f32(c) for c in TAIL_TOP)
_B0, _B1, _B2, _B3 = (_f32(c) for c in TAIL_BOTTOM)
_MANTISSA, _ONE_BITS, _R_ZERO = np.int32(MANTISSA), np.int32(ONE_BITS), np.int32(R_ZERO_BITS)
_LAST_CELL, _LAST_CENTER, _SIGN = np.int32(LAST_CELL), np.int32(LAST_CELL - TAIL), np.uint32(SIGN)
_HALF, _THREE_HALVES, _WHOLE = _f32(0.5), _f32(1.5), _f32(2.0**32)
_PER_OCTAVE, _UNIT = _f32(2.0**-23), _f32(2.0**-24)

_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


@compiled
def _philox(words: np.ndarray, first: np.uint64, count: int, key: np.uint64, out: np.ndarray) -> None:
    """The blocks `first`, … of Philox4x32-10, two 32-bit words to one of 64; `words` has room for a multiple of 8.

    Meanwhile the memory fetches `out`, where the values of these words will be written.
    """
    _prefer_wide_vectors()
    for i in range(0, count, 8):
        _fetch_to_write(out, 4 * i)
        _fetch_to_write(out, 4 * i + 16)
        eight_blocks(words, 2 * i, np.uint64(first) + np.uint64(i), np.uint64(key))


@compiled
def _cell(word: np.uint32) -> np.int32:
    """The cell of the absolute value, from the middle."""
    return np.int32(word & np.uint32(LAST_CELL))


@compiled
def _signed(size: np.float32, word: np.uint32) -> Any:
    """`size` with the word's sign."""
    return _float_of(np.int32(_bits_of(size) | np.int32(word & _SIGN)))


@compiled
def _r_of(cell: np.int32) -> Any:
    """r = 4 + log₂(1 − x²)."""
    end = _f32(np.int32(cell ^ _LAST_CELL)) + _HALF
    bits = _bits_of(end * (_WHOLE - end))
    g = _float_of(np.int32(np.int32(bits & _MANTISSA) | _ONE_BITS)) - _THREE_HALVES
    g2 = g * g
    low = _fma(_fma(_L3, g, _L2), g2, _fma(_L1, g, _L0))
    high = _fma(_fma(_L7, g, _L6), g2, _fma(_L5, g, _L4))
    return _fma(_f32(np.int32(bits - _R_ZERO)), _PER_OCTAVE, _fma(high, g2 * g2, low))


@compiled
def _central(cell: np.int32) -> Any:
    """|z| of a cell that does not lie in the tail."""
    r = _r_of(cell)
    r2 = r * r
    low = _fma(_fma(_C3, r, _C2), r2, _fma(_C1, r, _C0))
    high = _fma(_fma(_C7, r, _C6), r2, _fma(_C5, r, _C4))
    r4 = r2 * r2
    return (_f32(cell) + _HALF) * _fma(_C8, r4 * r4, _fma(high, r4, low))


@compiled
def _outer(cell: np.int32) -> Any:
    """|z| of a cell in the tail."""
    r = _r_of(cell)
    r2 = r * r
    top = _fma(_fma(_T3, r, _T2), r2, _fma(_T1, r, _T0))
    return top / _fma(_fma(_B3, r, _B2), r2, _fma(_B1, r, _B0))


@compiled
def _normals(out: np.ndarray, bits: np.ndarray, flags: np.ndarray, scale: np.float32, offset: np.float32) -> None:
    """`flags` has 32 bytes more than `out` has elements, up to the next multiple of 8."""
    _prefer_wide_vectors()
    count = out.size
    for j in range(count):
        word = bits[j]
        cell = _cell(word)
        flags[j] = cell > _LAST_CENTER
        out[j] = _fma(_signed(_central(cell), word), scale, offset)
    flags[count : count + 32] = 0
    # One in 512 lies in a tail, so flags are looked at many at a time.
    words = flags.view(np.uint64)
    for i in range(0, (count + 7) >> 3, 4):
        if words[i] | words[i + 1] | words[i + 2] | words[i + 3]:
            for k in range(i, i + 4):
                found = words[k]
                while found:
                    j = 8 * k + (_lowest_one(found) >> 3)
                    out[j] = _fma(_signed(_outer(_cell(bits[j])), bits[j]), scale, offset)
                    found &= found - np.uint64(1)


@compiled
def _uniforms(out: np.ndarray, bits: np.ndarray, scale: np.float32, offset: np.float32) -> None:
    _prefer_wide_vectors()
    for j in range(out.size):
        out[j] = _fma(_f32(np.int32(np.uint32(bits[j] >> np.uint32(8)))) * _UNIT, scale, offset)


@compiled
def _truncate(bits: np.ndarray, count: int, first: np.uint64, num_cells: np.uint64) -> None:
    """Map all words onto the `num_cells` cells from `first` on, where 2³² cells are counted from −∞ to ∞."""
    _prefer_wide_vectors()
    for j in range(count):
        place = np.uint32(first + ((np.uint64(bits[j]) * num_cells) >> _32))
        # Above the middle the cell is what lies beyond it; below, what is missing to it, and the sign.
        bits[j] = place ^ (_SIGN if place >= _SIGN else ~np.uint32(0))


@compiled
def _clamp(out: np.ndarray, minimum: np.float32, maximum: np.float32) -> None:
    _prefer_wide_vectors()
    for j in range(out.size):
        out[j] = min(max(out[j], minimum), maximum)


@compiled
def fill(
    out: np.ndarray,
    starts: np.ndarray,
    key: np.uint64,
    kind: int,
    first: np.uint64,
    num_cells: np.uint64,
    scale: np.float32,
    offset: np.float32,
    minimum: np.float32,
    maximum: np.float32,
) -> None:
    """Row i of `out` gets the stream's values from index `starts[i]` on: base value · scale + offset, clamped."""
    words = np.empty(_PIECE // 2, np.uint64)
    bits, flags = words.view(np.uint32), np.empty(_PIECE + 32, np.uint8)
    for i in range(out.shape[0]):
        done = 0
        while done < out.shape[1]:
            index = np.uint64(starts[i] + done)
            skip = np.int64(index & np.uint64(3))
            length = min(out.shape[1] - done, _PIECE - skip)
            count = (skip + length + 7) & ~7
            _philox(words, index >> np.uint64(2), count >> 2, key, out[i, done:])
            if num_cells <= _LOW:
                _truncate(bits, count, first, num_cells)
            piece = out[i, done : done + length]
            if kind == UNIFORM:
                _uniforms(piece, bits[skip : skip + length], scale, offset)
            else:
                _normals(piece, bits[skip : skip + length], flags, scale, offset)
            if minimum > -np.inf or maximum < np.inf:
                _clamp(piece, minimum, maximum)
            done += length
