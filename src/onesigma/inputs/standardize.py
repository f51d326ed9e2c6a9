"""From any table to a fitted scaler, in one pass."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias
from warnings import warn

from onesigma._errors import ConfigError, OnesigmaWarning, SourceError
from onesigma.inputs.maxabs import MaxAbsScaler
from onesigma.inputs.minmax import MinMaxScaler
from onesigma.inputs.ranked import ranked_columns_of
from onesigma.inputs.robust import RobustScaler
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.scan import Progress, Statistic, columns_of, map_merge
from onesigma.inputs.sources import Source, open_source
from onesigma.inputs.sources.columns import close_to, listed
from onesigma.inputs.standard import StandardScaler
from onesigma.numbers.columns import Columns

__all__ = ["Engine", "Fitted", "Method", "NonFinite", "fit_scaler", "provenance_of", "standardize", "warn_left_out"]

Method: TypeAlias = Literal["standard", "minmax", "maxabs", "robust"]
NonFinite: TypeAlias = Literal["raise", "ignore"]
Engine: TypeAlias = Callable[[Source, Statistic[Any]], Any]
"""`engine(source, statistic)` shares out `source.shards`, takes `statistic.of` each block, merges in any order."""


_SCALERS: Mapping[str, type[ColumnScaler]] = MappingProxyType(
    {scaler.kind: scaler for scaler in (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)}
)


def standardize(
    source: Any,
    *,
    method: Method = "standard",
    engine: str | Engine = "local",
    columns: Sequence[str | int] | str | None = None,
    nonfinite: NonFinite = "raise",
    checkpoint: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    decimal: bool = False,
    axis: int | None = None,
    field: str | int | None = None,
    **parameters: Any,
) -> ColumnScaler:
    """Fit a scaler to a table of any size, in one pass: exact, in any order, with bounded memory.

    Per column, `"standard"` maps x to (x − mean) / std, `"minmax"` to (x − min) / (max − min), `"maxabs"` to
    x / max|x|, `"robust"` to (x − median) / (third − first quartile). Null and NaN are counted and left out.

    Args:
        source: Anything that `open_source` takes: files, arrays, frames, a `DataLoader`.
        method: Which scaler.
        engine: `"local"`, or a callable that shares out the work.
        columns: Names, patterns or positions; by default every column of numbers, with a warning about the others.
        nonfinite: `"raise"` on infinite values, or `"ignore"` them: count them and leave them out.
        checkpoint: File to continue from after a crash; see `scan`.
        progress: Called after every block.
        decimal: Keep decimal text of CSV exact; see `open_source`.
        axis: Axis of the columns; see `open_source`.
        field: Which part of a batch; see `open_source`.
        parameters: Of the scaler, such as `feature_range=(-1, 1)` for `"minmax"`.

    Returns:
        A `StandardScaler`, `MinMaxScaler`, `MaxAbsScaler` or `RobustScaler`, fitted.

    Raises:
        SourceError: The source cannot be read, has no rows, or holds infinities; they are counted and named.
        ConfigError: An unknown method, engine or policy.

    Example:
        >>> scaler = standardize({"miles": [100.0, 100_000.0, 40_000.0]}, method="minmax")
        >>> scaler.data_min_.tolist(), scaler.data_max_.tolist()
        ([100.0], [100000.0])
    """
    table = open_source(source, columns, decimal=decimal, axis=axis, field=field)
    warn_left_out(table, stacklevel=3)
    fitted = fit_scaler(
        table,
        method=method,
        engine=engine,
        nonfinite=nonfinite,
        checkpoint=checkpoint,
        progress=progress,
        **parameters,
    )
    return fitted.scaler


def warn_left_out(table: Source, *, stacklevel: int) -> None:
    """Warn about columns that were not chosen, with the reason of each."""
    if table.left_out:
        told = "; ".join(f"{name!r} is {why}" for name, why in list(table.left_out.items())[:4])
        more = f"; and {len(table.left_out) - 4} more" if len(table.left_out) > 4 else ""
        words = f"{table.description}: left out {told}{more}. Say which with columns=."
        warn(words, OnesigmaWarning, stacklevel=stacklevel)


class Fitted(NamedTuple):
    """A scaler, and the exact moments of the columns it was fitted to."""

    scaler: ColumnScaler
    columns: Columns


def fit_scaler(
    source: Source,
    *,
    method: Method = "standard",
    engine: str | Engine = "local",
    nonfinite: NonFinite = "raise",
    checkpoint: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    **parameters: Any,
) -> Fitted:
    """Fit a scaler to an open source; see `standardize`.

    Raises:
        SourceError: No rows, or infinities.
        ConfigError: An unknown method, engine or policy, or parameters that the method does not have.
    """
    scaler = _scaler(method, parameters)
    if nonfinite not in ("raise", "ignore"):
        raise ConfigError(f"nonfinite must be 'raise' or 'ignore', got {nonfinite!r}.")
    robust = isinstance(scaler, RobustScaler)
    statistic = ranked_columns_of(source, size=scaler.sketch_size) if robust else columns_of(source)
    found = _run(source, statistic, engine=engine, checkpoint=checkpoint, progress=progress)
    columns = found.columns if robust else found
    refuse_empty(columns, source)
    if nonfinite == "raise":
        refuse_infinities(columns, source)
    provenance = provenance_of(source)
    held = found.sketches if robust else columns
    return Fitted(type(scaler).from_columns(held, provenance=provenance, **parameters), columns)


def _scaler(method: str, parameters: Mapping[str, Any]) -> ColumnScaler:
    if method not in _SCALERS:
        raise ConfigError(f"method={method!r} is not known; {close_to(method, list(_SCALERS), what='methods')}")
    try:
        return _SCALERS[method](**parameters)
    except TypeError as error:
        raise ConfigError(
            f"method {method!r}: {error}; see help(onesigma.inputs.{_SCALERS[method].__name__})."
        ) from None


def _run(
    source: Source,
    statistic: Statistic[Any],
    *,
    engine: str | Engine,
    checkpoint: str | Path | None,
    progress: Callable[[Progress], None] | None,
) -> Any:
    if callable(engine):
        return engine(source, statistic)
    if engine != "local":
        raise ConfigError(
            f"engine={engine!r} is not in this version of onesigma; use 'local', or pass a function "
            f"engine(source, statistic) that shares out source.shards."
        )
    return map_merge(source, statistic, checkpoint=checkpoint, progress=progress)


def refuse_empty(columns: Columns, source: Source) -> None:
    """Raise if not one row was read.

    Raises:
        SourceError: With the columns that were there.
    """
    first = next(iter(columns.values()))
    if not (first.count + first.nulls + first.nans + first.pos_infs + first.neg_infs):
        raise SourceError(
            f"{source.description}: the table has columns ({listed(source.names, most=4)}) but no rows; "
            f"at least one row is wanted."
        )


def refuse_infinities(columns: Columns, source: Source) -> None:
    """Raise if a column holds infinities.

    Raises:
        SourceError: With their number in each column.
    """
    counts = {name: column.pos_infs + column.neg_infs for name, column in columns.items()}
    found = {name: count for name, count in counts.items() if count}
    if found:
        told = ", ".join(f"{name!r} ({count})" for name, count in list(found.items())[:6])
        more = f" and {len(found) - 6} more columns" if len(found) > 6 else ""
        raise SourceError(
            f"{source.description}: {sum(found.values())} infinite values in {told}{more}; "
            f"mend them, or count them and leave them out with nonfinite='ignore' (--nonfinite ignore)."
        )


def provenance_of(source: Source) -> dict[str, Any]:
    """Return where statistics came from. The date is the files' own: the same data give the same bytes on any day."""
    facts: dict[str, Any] = {"source": source.description}
    if source.states:
        newest = max(state.modified_ns for state in source.states) // 10**9
        facts |= {"files": len(source.states), "date": datetime.fromtimestamp(newest, UTC).isoformat()}
    return facts
