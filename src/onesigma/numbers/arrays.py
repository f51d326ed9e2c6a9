"""One column, whatever holds it, as a flat NumPy array of exact numbers beside the count of its nulls."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onesigma._errors import SourceError
from onesigma.numbers.tensors import is_tensor, tensor_array

__all__ = ["Flat", "flatten"]

_EXACT_INTEGER = 2**53


class Flat(NamedTuple):
    """Values that are not null, in order, and how to read them.

    Attributes:
        values: 1-D; bool, integer or float; or object: Python integers, fractions and non-finite floats.
        kind: What one number means; see `Moments`.
        divisor: The true value is `values / divisor`: 10^s for decimals, otherwise 1.
        nulls: How many there were (each counted `weight` times).
        weights: One weight for each value, or None.
    """

    values: np.ndarray
    kind: str
    divisor: int
    nulls: int
    weights: np.ndarray | None


def flatten(values: Any, *, weights: Any = None) -> Flat:
    """One column and its weights as a `Flat`; no number is rounded, and nothing is copied where that can be.

    Args:
        values: 1-D NumPy array, Arrow array or chunked array, tensor, or sequence of numbers with None as null.
        weights: As many non-negative numbers. Integers count a value that often; floats weigh it.

    Raises:
        SourceError: Text and other columns that hold no numbers, more than one dimension, or unfit weights.
    """
    if is_tensor(values):
        values = tensor_array(values)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        array, kind, divisor, valid = _arrow(values)
    elif isinstance(values, np.ndarray):
        array, kind, divisor, valid = _numpy(values)
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        array, kind, divisor, valid = _python(values)
    else:
        raise SourceError(f"Moments: wanted a column of numbers, got {type(values).__name__}; pass an array or a list.")
    checked = None if weights is None else _checked_weights(weights, array.size if valid is None else valid.size)
    if valid is None:
        return Flat(array, kind, divisor, 0, checked)
    if checked is None:
        return Flat(array, kind, divisor, int(np.count_nonzero(~valid)), None)
    nulls = checked[~valid]
    lost = int(nulls.sum()) if nulls.dtype.kind in "iu" else int(np.count_nonzero(nulls))
    return Flat(array, kind, divisor, lost, checked[valid])


def _checked_weights(weights: Any, size: int) -> np.ndarray:
    if is_tensor(weights):
        weights = tensor_array(weights)
    array = np.asarray(weights)
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    if array.shape != (size,) or array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise SourceError(f"weights: wanted {size} real numbers, got {array.dtype} of shape {array.shape}.")
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise SourceError("weights: wanted finite numbers, got NaN or infinity; drop those rows.")
    if size and array.min() < 0:
        raise SourceError(f"weights: wanted no number below zero, got {array.min()}; drop those rows.")
    return array


_Column = tuple[np.ndarray, str, int, np.ndarray | None]  # values, kind, divisor, mask of what is not null


def _numpy(array: np.ndarray) -> _Column:
    if array.ndim != 1:
        raise SourceError(f"Moments: wanted one dimension, got shape {array.shape}; use Columns.of or Columns.of_axes.")
    if isinstance(array, np.ma.MaskedArray):
        valid = ~np.ma.getmaskarray(array)
        return *_numpy(array.data[valid])[:3], valid
    code, name = array.dtype.kind, array.dtype.name
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if code == "b":
        return array.view(np.uint8), "bool", 1, None
    if code in "iu" or (code == "f" and array.dtype.itemsize <= 8):
        return (array if array.dtype.itemsize > 2 or code != "f" else array.astype(np.float32)), "number", 1, None
    if code in "mM":
        return _times(array)
    if name.startswith(("bfloat16", "float8", "float6", "float4", "int", "uint")):  # ml_dtypes
        return array.astype(np.float32 if "float" in name else np.int8), "number", 1, None
    if code == "O":
        return _python(array.tolist())
    raise SourceError(f"Moments: a column of {array.dtype} holds no real numbers; leave it out with columns=[...].")


def _times(array: np.ndarray) -> _Column:
    unit, step = np.datetime_data(array.dtype)
    if unit == "generic" or step != 1 or unit in ("Y", "M"):
        raise SourceError(f"Moments: {array.dtype} has no fixed unit; cast it to datetime64[us] or timedelta64[us].")
    valid = ~np.isnat(array)
    name = "duration" if array.dtype.kind == "m" else "timestamp"
    kind = "date" if (name, unit) == ("timestamp", "D") else f"{name}[{unit}]"
    integers = array.view(np.int64)
    return (integers, kind, 1, None) if valid.all() else (integers[valid], kind, 1, valid)


def _arrow(array: pa.Array | pa.ChunkedArray) -> _Column:
    if isinstance(array, pa.ChunkedArray):
        array = (
            array.chunk(0) if array.num_chunks == 1 else pa.concat_arrays(array.chunks or [pa.array([], array.type)])
        )
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type) or pa.types.is_run_end_encoded(array.type):
        array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else pc.run_end_decode(array)
    valid = None
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        array = array.drop_null()
    values, kind, divisor = _arrow_values(array)
    return values, kind, divisor, valid


def _arrow_values(array: pa.Array) -> tuple[np.ndarray, str, int]:
    """Values of an Arrow array without nulls, as stored: no unit is converted."""
    kind, types = array.type, pa.types
    if types.is_null(kind):
        return np.empty(0), "any", 1
    if types.is_boolean(kind):
        return array.to_numpy(zero_copy_only=False).view(np.uint8), "bool", 1
    if types.is_float16(kind):
        return array.to_numpy().astype(np.float32), "number", 1
    if types.is_integer(kind) or types.is_floating(kind):
        return array.to_numpy(), "number", 1
    if types.is_decimal(kind):
        return *_decimals(array), 10 ** max(kind.scale, 0)
    if types.is_date64(kind):
        array, kind = array.cast(pa.date32()), pa.date32()
    if types.is_date32(kind):
        return array.view(pa.int32()).to_numpy(), "date", 1
    if types.is_timestamp(kind) or types.is_duration(kind):
        zone = f", {kind.tz}" if types.is_timestamp(kind) and kind.tz else ""
        name = "duration" if types.is_duration(kind) else "timestamp"
        return array.view(pa.int64()).to_numpy(), f"{name}[{kind.unit}{zone}]", 1
    if types.is_time(kind):
        return array.view(pa.int32() if types.is_time32(kind) else pa.int64()).to_numpy(), f"time[{kind.unit}]", 1
    raise SourceError(f"Moments: a column of {kind} holds no numbers; leave it out with columns=[...].")


def _decimals(array: pa.Array) -> tuple[np.ndarray, str]:
    """The unscaled integers of decimals: int64 where all fit, otherwise Python integers."""
    scale = array.type.scale
    words = array.type.bit_width // 64
    if words > 1:
        halves = np.frombuffer(array.buffers()[1], dtype=np.int64)[words * array.offset :][: words * len(array)]
        low, *rest = halves.reshape(-1, words).T
        if all((word == low >> 63).all() for word in rest):
            integers = low
        else:
            integers = np.array([_unscaled(value) for value in array.to_pylist()], dtype=object)
    else:
        integers = np.array([_unscaled(value) for value in array.to_pylist()], dtype=np.int64)
    return (integers * 10**-scale if scale < 0 else integers), f"decimal({max(scale, 0)})"


def _unscaled(value: Decimal) -> int:
    sign, digits, _ = value.as_tuple()
    integer = int("".join(map(str, digits)))
    return -integer if sign else integer


def _python(values: Sequence[Any]) -> _Column:
    valid = np.array([value is not None for value in values], dtype=bool)
    present = [value for value in values if value is not None]
    kind, divisor = _python_kind(present)
    if not present:
        array = np.empty(0)
    elif all(isinstance(value, float | np.floating) for value in present):
        array = np.array(present, dtype=np.float64)
    else:
        array = np.empty(len(present), dtype=object)
        array[:] = [_exact(value, divisor) for value in present]
    return array, kind, divisor, (None if valid.all() else valid)


def _python_kind(present: Sequence[Any]) -> tuple[str, int]:
    if not present:
        return "any", 1
    if all(isinstance(value, bool | np.bool_) for value in present):
        return "bool", 1
    if any(isinstance(value, Decimal) for value in present):
        if not all(isinstance(value, Decimal | int) for value in present):
            raise SourceError("Moments: decimals and floats in one column; a float has no decimal scale: convert one.")
        scale = max((_scale(value) for value in present if isinstance(value, Decimal)), default=0)
        return f"decimal({scale})", 10**scale
    for value in present:
        if not isinstance(value, int | float | Fraction | np.integer | np.floating):
            raise SourceError(f"Moments: wanted numbers, got {type(value).__name__} {value!r:.40}; convert the column.")
    return "number", 1


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _exact(value: Any, divisor: int) -> Any:
    """A number as an integer or fraction in units of 1 / divisor; a non-finite one as a float."""
    if isinstance(value, Decimal):
        return (
            int(Fraction(value) * divisor)
            if value.is_finite()
            else float(value.copy_abs() if value.is_nan() else value)
        )
    if isinstance(value, float | np.floating):
        return Fraction(float(value)) if np.isfinite(value) else float(value)
    return value if isinstance(value, Fraction) else int(value) * divisor
