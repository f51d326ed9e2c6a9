"""Where statistics come from: plain facts that travel with them."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from onesigma._errors import ConfigError

__all__ = ["Provenance", "joined", "plain"]

Provenance: TypeAlias = Mapping[str, Any]
"""Facts by name, such as `{"source": "wine.csv"}`: texts, integers, booleans, None, and lists and records of them."""


def plain(value: Any, *, name: str = "provenance") -> Any:
    """A deep copy in the types of JSON; a float becomes its hexadecimal text.

    Raises:
        ConfigError: A value is none of these.

    Example:
        >>> plain({"files": ("a.csv", "b.csv"), "share": 0.5})
        {'files': ['a.csv', 'b.csv'], 'share': '0x1.0000000000000p-1'}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(item, name=f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, name=f"{name}[{index}]") for index, item in enumerate(value)]
    raise ConfigError(
        f"{name}: wanted texts, numbers, lists and records, got {type(value).__name__}; convert it first."
    )


def joined(left: Provenance, right: Provenance) -> dict[str, Any]:
    """The provenance of merged statistics: what both agree on stays, differing sources are listed, the rest goes.

    Example:
        >>> joined({"source": "a.csv", "split": "train"}, {"source": "b.csv", "split": "train"})
        {'source': ['a.csv', 'b.csv'], 'split': 'train'}
    """
    agreed = {key: value for key, value in left.items() if key in right and right[key] == value}
    sources = sorted({source for part in (left, right) for source in _listed(part.get("source"))})
    if sources:
        agreed = {"source": sources[0] if len(sources) == 1 else sources, **agreed}
        agreed["source"] = sources[0] if len(sources) == 1 else sources
    return agreed


def _listed(source: Any) -> list[str]:
    if source is None:
        return []
    return [str(item) for item in source] if isinstance(source, list | tuple) else [str(source)]
