"""The map behind every scaler, y = ((x − shift) − shift_low) / scale, in the dtype of the data.

The layer computes the same operations in the same order, so both give the same bits.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from onesigma.inputs.blocks import any_infinity, fits_compiled, has_infinity, map_blocks, standardize_compiled

__all__ = ["STATISTICS", "Affine", "Array", "Steps"]

Array: TypeAlias = npt.NDArray[Any]

STATISTICS = ("shift", "shift_low", "scale", "minimum", "maximum")
"""The arrays of an `Affine`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """One affine map per column, held in double precision and applied in the dtype of the data.

    Without `output_range`: y = ((x − shift) − shift_low) / scale, where shift + shift_low is the mean to some
    hundred bits; rounded to float32 it is still a pair, so a mean of 1.6e9 loses nothing.

    With `output_range` (a, b) that is t, where shift + shift_low is the minimum and scale the range, and
    y = a·(1 − t) + b·t. In a narrower dtype minimum and maximum are rounded *before* they are subtracted, so they map
    to exactly a and b in every dtype.

    float16 is computed in float32, integers in float64 (64-bit ones are shifted as integers first).

    Attributes:
        shift: (F,) float64, what is subtracted first.
        shift_low: (F,) float64, the rest of it.
        scale: (F,) float64, never 0.
        minimum: (F,) float64, smallest value that was seen; NaN where none was.
        maximum: (F,) float64, largest value that was seen.
        output_range: Where minimum and maximum go; None for a map by shift and scale.
        clip: Limits of the result; NaN stays NaN.

    Example:
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> bounds = {"minimum": one, "maximum": 3 * one, "output_range": (-1.0, 1.0)}
        >>> from_1_to_3 = Affine(shift=one, shift_low=zero, scale=2 * one, **bounds)
        >>> from_1_to_3.transform(np.array([[1.0], [2.0], [3.0]])).ravel()
        array([-1.,  0.,  1.])
    """

    shift: Array
    shift_low: Array
    scale: Array
    minimum: Array
    maximum: Array
    output_range: tuple[float, float] | None = None
    clip: tuple[float, float] | None = None

    def transform(self, x: Array, *, out: Array | None = None) -> Array:
        """Map `x` (N, F) to `out`, which may be `x` itself; a new array where `out` is left out.

        Raises:
            ValueError: A value is infinite; `x` is then as it was.
        """
        if out is x and any_infinity(x):
            raise _infinity(x)
        out = _empty_like(x) if out is None else out
        if map_blocks(Steps.of(self, _work_dtype(x.dtype)), "forward", x=x, out=out):
            raise _infinity(x)
        return out

    def inverse(self, y: Array, *, out: Array | None = None) -> Array:
        """Undo `transform` but for the clip: x = (y·scale + shift_low) + shift, or minimum·(1 − t) + maximum·t."""
        out = _empty_like(y) if out is None else out
        map_blocks(Steps.of(self, _work_dtype(y.dtype)), "backward", x=y, out=out)
        return out


@dataclass(frozen=True, slots=True)
class Steps:
    """The map rounded to one dtype: arrays of length F, or of k·F where k rows are handled as one."""

    shift: Array
    shift_low: Array
    scale: Array
    top: Array | None
    output_range: tuple[float, float]
    clip: tuple[float, float] | None

    @classmethod
    def of(cls, affine: Affine, dtype: np.dtype[Any]) -> "Steps":
        """Round the statistics to `dtype`."""
        with np.errstate(all="ignore"):
            if affine.output_range is None or dtype == np.float64:
                shift = affine.shift.astype(dtype)
                low = ((affine.shift - shift.astype(np.float64)) + affine.shift_low).astype(dtype)
                # A scale that the dtype cannot tell from 0 is its smallest number: nothing becomes NaN.
                scale = np.maximum(affine.scale.astype(dtype), np.finfo(dtype).smallest_subnormal)
            else:
                shift = affine.minimum.astype(dtype)
                low = np.zeros_like(shift)
                scale = affine.maximum.astype(dtype) - shift
                # A column that is constant in this dtype keeps its scale.
                scale[scale == 0] = 1
            top = np.where(affine.maximum > affine.minimum, affine.maximum, shift + scale).astype(dtype)
            ends = affine.output_range
            return cls(shift, low, scale, None if ends is None else top, ends or (0.0, 1.0), affine.clip)

    def tiled(self, times: int) -> "Steps":
        """The same map for `times` rows laid end to end."""
        shift, low, scale = (np.tile(part, times) for part in (self.shift, self.shift_low, self.scale))
        top = None if self.top is None else np.tile(self.top, times)
        return replace(self, shift=shift, shift_low=low, scale=scale, top=top)

    def apply(self, direction: Literal["forward", "backward"], x: Array, out: Array) -> bool:
        """Write the map of `x`, or its inverse, to `out`, which may be `x`; say whether the map met an infinity."""
        if direction == "forward":
            return self.forward(x, out)
        self.backward(x, out)
        return False

    def forward(self, x: Array, out: Array) -> bool:
        """See `Affine.transform`."""
        if fits_compiled(x, out):
            infinite = standardize_compiled(x, out, parts=(self.shift, self.shift_low, self.scale))
        else:
            infinite = has_infinity(x)
            np.subtract(_subtract(x, self.shift, out), self.shift_low, out=out)
            np.divide(out, self.scale, out=out)
        if self.top is not None and self.output_range != (0.0, 1.0):
            _between(*self.output_range, out)
        if self.clip is not None:
            np.clip(out, *self.clip, out=out)
        return infinite

    def backward(self, y: Array, out: Array) -> None:
        """See `Affine.inverse`."""
        if self.top is None:
            np.multiply(y, self.scale, out=out)
            np.add(out, self.shift_low, out=out)
            np.add(out, self.shift, out=out)
            return
        low, high = self.output_range
        np.subtract(y, low, out=out)
        np.divide(out, high - low, out=out)
        _between(self.shift, self.top, out)


def _subtract(x: Array, shift: Array, out: Array) -> Array:
    """x − shift; of 64-bit integers nothing is lost where the difference is one of them."""
    np.subtract(x, shift, out=out)
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8:
        return out
    is_exact = (np.abs(out) < _FITS) & (np.abs(shift) <= 2.0**64)
    whole = np.where(np.abs(shift) <= 2.0**64, np.trunc(shift), 0.0)
    # Differences wrap around modulo 2⁶⁴, so they are right wherever the true one fits.
    difference = (x.astype(np.uint64) - _modulo(whole)).astype(np.int64)
    np.subtract(difference, shift - whole, out=out, where=is_exact)
    return out


_FITS = 2.0**62
"""Below it a difference, also one that was rounded, fits an int64; above it float64 holds it as well as any number."""


def _modulo(whole: Array) -> Array:
    """Whole numbers modulo 2⁶⁴."""
    size = np.fmod(np.abs(whole), 2.0**64).astype(np.uint64)
    return np.where(whole < 0, np.uint64(0) - size, size)


def _between(start: Array | float, end: Array | float, t: Array) -> None:
    """t ← start·(1 − t) + end·t: exact at t = 0 and t = 1, which start + (end − start)·t is not."""
    rest = np.subtract(t.dtype.type(1), t)
    np.multiply(rest, start, out=rest)
    np.multiply(t, end, out=t)
    np.add(rest, t, out=t)


def _work_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype to compute in: float32 for halves, float64 for everything that is not a float."""
    if dtype.kind != "f":
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def _empty_like(x: Array) -> Array:
    return np.empty_like(x, dtype=x.dtype if x.dtype.kind == "f" else np.float64, subok=False)


def _infinity(x: Array) -> ValueError:
    return ValueError(f"Input X contains infinity or a value too large for {x.dtype!r}.")
