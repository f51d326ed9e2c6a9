"""A scaler as the document that a file holds, and back."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from onesigma._errors import ConfigError, ScalerFileError
from onesigma.inputs.provenance import plain

__all__ = ["document_of", "naming", "read_parameters", "read_provenance"]

_DERIVED = ("rows", "columns", "correction")  # written anew whenever a file is


def document_of(
    kind: str, parameters: Mapping[str, Any], *, provenance: Mapping[str, Any], fields: Sequence[str], rows: Any
) -> dict[str, Any]:
    """The document, in the order that a person reads it in."""
    return {
        "kind": kind,
        "version": version("onesigma"),
        "parameters": plain(parameters, name="parameters"),
        "provenance": plain(provenance),
        "fields": list(fields),
        "columns": rows,
    }


def read_parameters(default: Any, document: Mapping[str, Any], *, kind: str) -> dict[str, Any]:
    """The constructor's parameters in a document of this kind; `default` is a scaler that shows their names and types.

    Raises:
        ScalerFileError: The kind or a parameter is another than wanted.
    """
    if document["kind"] != kind:
        raise ScalerFileError(
            f"wanted statistics of the kind {kind!r}, got {document['kind'][:60]!r}; use onesigma.inputs.load."
        )
    wanted = default._map_parameters()
    if set(document["parameters"]) != set(wanted):
        raise ScalerFileError(f"wanted the parameters {list(wanted)}, got {str(list(document['parameters']))[:200]}.")
    return {name: _like(wanted[name], document["parameters"][name], name=name) for name in wanted}


def read_provenance(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of its origin, without what is written anew."""
    return {name: value for name, value in document["provenance"].items() if name not in _DERIVED}


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors about a document say which file it came from."""
    try:
        yield
    except (ScalerFileError, ConfigError) as error:
        raise ScalerFileError(f"{os.fspath(path)}: {error}") from None


def _like(default: Any, value: Any, *, name: str) -> Any:
    """`value` if it is written as `default` would be."""
    if isinstance(default, bool | int) and type(value) is type(default):
        return value
    if isinstance(default, float) and isinstance(value, str):
        return _double(value, name=name)
    if isinstance(default, tuple) and isinstance(value, list) and len(value) == len(default):
        return tuple(_like(one, item, name=name) for one, item in zip(default, value, strict=True))
    raise ScalerFileError(f"parameter {name!r}: wanted something like {plain(default)!r}, got {str(value)[:60]!r}.")


def _double(text: str, *, name: str) -> float:
    try:
        return float.fromhex(text)
    except (ValueError, OverflowError):
        raise ScalerFileError(f"parameter {name!r}: wanted a hexadecimal number, got {text[:60]!r}.") from None
