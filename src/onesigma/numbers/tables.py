"""Tables as columns by name, whatever holds them."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from onesigma._errors import SourceError

if TYPE_CHECKING:
    import torch

__all__ = ["array_names", "check_known", "is_plain", "named_columns"]


def named_columns(table: Any, names: list[str] | None) -> dict[str, Any]:
    """The chosen columns of Arrow data, a mapping or a 2-D array, in order; all where none are chosen.

    Raises:
        SourceError: It is no table, or a column is not there.
    """
    if isinstance(table, np.ndarray):
        return dict(zip(array_names(table, names), table.T, strict=True))
    if not isinstance(table, Mapping | pa.RecordBatch | pa.Table) and hasattr(table, "__arrow_c_stream__"):
        table = pa.table(table)
    if isinstance(table, pa.RecordBatch | pa.Table):
        check_distinct(table.column_names)
        table = dict(zip(table.column_names, table.columns, strict=True))
    if not isinstance(table, Mapping):
        raise SourceError(f"Columns: wanted a table, got {type(table).__name__}; pass an array, Arrow data or a dict.")
    if names is None:
        return dict(table)
    check_known(names, table)
    return {name: table[name] for name in names}


def array_names(array: "np.ndarray | torch.Tensor", names: list[str] | None) -> list[str]:
    """The names of an array's columns: those given, or "x0", "x1", …

    Raises:
        SourceError: The array is not two-dimensional, or there are not as many distinct names as columns.
    """
    if array.ndim != 2:
        raise SourceError(
            f"Columns: wanted rows × columns, got shape {tuple(array.shape)}; see Columns.of_axes for others."
        )
    if names is None:
        return [f"x{i}" for i in range(array.shape[1])]
    check_distinct(names)
    if len(names) != array.shape[1]:
        raise SourceError(f"Columns: wanted {array.shape[1]} names, got {len(names)}: {names[:8]}.")
    return names


def is_plain(array: np.ndarray) -> bool:
    """Whether an array holds integers, booleans or floats as the compiled loops read them, none of them missing."""
    plain = array.dtype.kind in "iub" or (array.dtype.kind == "f" and array.dtype.itemsize <= 8)
    return plain and array.dtype.isnative and not isinstance(array, np.ma.MaskedArray)


def check_known(names: Iterable[str], known: Mapping[str, Any]) -> None:
    """Refuse names that are no columns."""
    missing = [name for name in names if name not in known]
    if missing:
        raise SourceError(f"columns {missing} are not there; there are: {list(known)[:40]}.")


def check_distinct(names: list[str]) -> None:
    """Refuse names that stand twice."""
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise SourceError(f"columns {twice} stand twice; rename them.")
