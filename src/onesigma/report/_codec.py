"""Frozen records ↔ plain JSON values, driven by their type hints: one description serves writer, reader and schema."""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from onesigma._errors import ReportFileError

__all__ = ["NONFINITE", "Json", "decode", "encode", "required", "shape_of", "wire_fields"]

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
"""What `json.dumps` takes."""

# JSON has no word for these; Python's own `NaN` is refused by every other reader, null would lose the sign.
NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def encode(value: object, *, defaults: bool = True) -> Json:
    """A record, or anything it holds, as JSON values; non-finite floats as the strings of `NONFINITE`.

    Without `defaults`, a field that holds its default is left out; a reader puts it back.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return _float(float(value))
    if isinstance(value, Mapping):
        return {str(key): encode(item, defaults=defaults) for key, item in value.items()}
    if is_dataclass(value):
        kept = [field for field in wire_fields(type(value)) if defaults or not _holds_default(value, field)]
        return {field.name: encode(getattr(value, field.name), defaults=defaults) for field in kept}
    if isinstance(value, Sequence):
        return [encode(item, defaults=defaults) for item in value]
    raise TypeError(f"a report cannot hold a {type(value).__name__}")


def _holds_default(record: object, field: Field[Any]) -> bool:
    value = getattr(record, field.name)
    if field.default_factory is not MISSING:
        return bool(value == field.default_factory())
    return field.default is not MISSING and bool(value == field.default)


def _float(value: float) -> Json:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def decode(kind: Any, value: object, *, at: str) -> Any:
    """`value` as an instance of `kind`; `at` says where we are, for the error.

    Raises:
        ReportFileError: A value of another kind than the type hint says, or a missing field.
    """
    shape, parts = shape_of(kind)
    if shape == "any":
        return _union(parts, value, at=at)
    if shape == "record":
        return _record(kind, value, at=at)
    if shape == "list":
        return tuple(decode(parts[0], item, at=f"{at}[{i}]") for i, item in enumerate(_require(list, value, at=at)))
    if shape == "pair":
        items = _require(list, value, at=at)
        if len(items) != len(parts):
            raise ReportFileError(f"{at}: expected {len(parts)} values, got {len(items)}.")
        return tuple(
            decode(part, item, at=f"{at}[{i}]") for i, (part, item) in enumerate(zip(parts, items, strict=True))
        )
    if shape == "map":
        return {key: decode(parts[1], item, at=f"{at}.{key}") for key, item in _require(dict, value, at=at).items()}
    if shape == "words":
        if value not in parts:
            raise ReportFileError(f"{at}: expected one of {', '.join(map(repr, parts))}, got {_shown(value)}.")
        return value
    return _scalar(kind, value, at=at)


def _record(kind: Any, value: object, *, at: str) -> Any:
    found = _require(dict, value, at=at)
    hints = get_hints(kind)
    arguments = {}
    for field in wire_fields(kind):
        if field.name in found:
            arguments[field.name] = decode(hints[field.name], found[field.name], at=f"{at}.{field.name}")
        elif required(field):
            raise ReportFileError(f"{at}: the field {field.name!r} is missing; was the file edited or cut off?")
    return kind(**arguments)


def _union(parts: tuple[Any, ...], value: object, *, at: str) -> Any:
    if value is None and type(None) in parts:
        return None
    candidates = [part for part in parts if part is not type(None)]
    if len(candidates) == 1:
        return decode(candidates[0], value, at=at)
    # Only scalars share a union: a value is what it looks like, a non-finite word is a float where one may stand.
    if isinstance(value, str) and value in NONFINITE and float in candidates:
        return NONFINITE[value]
    if type(value) in candidates:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and float in candidates:
        return float(value)
    names = " or ".join(part.__name__ for part in candidates)
    raise ReportFileError(f"{at}: expected {names}, got {_shown(value)}.")


def _scalar(kind: type, value: object, *, at: str) -> Any:
    if kind is float:
        if isinstance(value, str) and value in NONFINITE:
            return NONFINITE[value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                raise ReportFileError(f"{at}: a number beyond double precision.") from None
    if type(value) is kind:
        return value
    raise ReportFileError(f"{at}: expected {kind.__name__}, got {_shown(value)}.")


def _require(kind: type, value: object, *, at: str) -> Any:
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "an object"
        raise ReportFileError(f"{at}: expected {wanted}, got {_shown(value)}.")
    return value


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "…"


def shape_of(kind: Any) -> tuple[str, tuple[Any, ...]]:
    """How a type hint looks on the wire: record, list, pair, map, words, any (a union) or scalar, and its parts."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return "any", parts
    if origin is Literal:
        return "words", parts
    if origin is tuple:
        return ("list", parts[:1]) if parts[-1] is ... else ("pair", parts)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "map", parts
    return ("record" if is_dataclass(kind) else "scalar"), ()


def wire_fields(kind: Any) -> list[Field[Any]]:
    """The fields of a record that are written: all that are not private."""
    return [field for field in fields(kind) if not field.name.startswith("_")]


def required(field: Field[Any]) -> bool:
    """Whether a reader must find the field: it has no default."""
    return field.default is MISSING and field.default_factory is MISSING


@cache
def get_hints(kind: type) -> dict[str, Any]:
    """The resolved type hints of a record."""
    return get_type_hints(kind)
