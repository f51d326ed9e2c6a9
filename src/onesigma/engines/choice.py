"""From a name, or from a dataset, to its engine: the only place that knows them all, and it imports none of them."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import Any

from onesigma._errors import ConfigError
from onesigma.engines.protocol import Engine

__all__ = ["NAMES", "engine_named", "engine_of"]

NAMES = ("threads", "processes", "dask", "ray", "spark", "ranks")
"""Names of engines; "local", the pass that needs none, is not among them."""

_ROOMS: Mapping[str, str] = MappingProxyType({
    "threads": "local", "processes": "local", "dask": "dask", "ray": "ray", "spark": "spark",
    "ranks": "ranks",
})  # fmt: skip
_PACKAGES: Mapping[str, str] = MappingProxyType({"dask": "dask", "ray": "ray", "spark": "pyspark"})


def engine_named(name: str, *, address: str | None = None) -> AbstractContextManager[Engine]:
    """Return an engine to be opened with `with`: it uses the session that runs here, or starts one and ends it.

    Args:
        name: One of `NAMES`.
        address: Of a cluster: "tcp://host:8786" for Dask, "ray://host:10001" or "auto" for Ray, "spark://host:7077"
            or "local[8]" for Spark; for "threads" and "processes", how many. None: the session that is there, else
            one of its own on this machine.

    Raises:
        ConfigError: There is no such engine, or its package is not installed.

    Example:
        >>> with engine_named("threads") as engine:
        ...     engine.map_merge([[1, 2], [3]], sum, merge=lambda a, b: a + b, zero=0)
        6
    """
    if name not in _ROOMS:
        close = get_close_matches(name, ("local", *NAMES), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are 'local', {', '.join(map(repr, NAMES))}."
        raise ConfigError(f"engine={name!r} is not known; {hint}")
    try:
        room = import_module(f"onesigma.engines.{_ROOMS[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "onesigma":
            raise
        raise ConfigError(
            f"engine={name!r} needs {error.name}, which is not installed; pip install 'onesigma[{name}]'."
        ) from error
    opened: AbstractContextManager[Engine] = room.opened(name, address=address)
    return opened


def engine_of(dataset: Any) -> str | None:
    """Return the name of the engine whose dataset this is; None for all else. Imports nothing.

    Example:
        >>> engine_of([1, 2]) is None
        True
    """
    if isinstance(dataset, list | tuple) and dataset:
        owners = {engine_of(part) for part in dataset[:1]}
        return "dask" if owners == {"dask"} else None  # a list of `delayed`
    packages = {base.__module__.partition(".")[0] for base in type(dataset).__mro__}
    for name, package in _PACKAGES.items():
        if package in packages and package in sys.modules:
            return name if _is_dataset(dataset, name) else None
    return None


def _is_dataset(dataset: Any, name: str) -> bool:
    if name == "dask":
        return hasattr(dataset, "__dask_graph__")
    if name == "ray":
        return hasattr(dataset, "map_batches")
    return hasattr(dataset, "mapInArrow")
