"""`standardize` on any engine: inputs know the statistics, engines know the machines, and here they meet."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from onesigma._errors import ConfigError, SourceError
from onesigma.engines import Engine, engine_named, engine_of
from onesigma.inputs.checkpoint import Checkpoint, Position
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.scan import Progress, Statistic
from onesigma.inputs.sources import Source, open_source
from onesigma.inputs.standardize import Engine as Runner
from onesigma.inputs.standardize import Fitted, Method, NonFinite, fit_scaler, warn_left_out
from onesigma.workflows.parts import Parcel, Part, Summary, join, parts_of

__all__ = ["fit", "look", "standardize"]

_WAVE_SECONDS = 10.0


def standardize(
    source: Any,
    *,
    method: Method = "standard",
    engine: str | Runner = "local",
    address: str | None = None,
    columns: Sequence[str | int] | str | None = None,
    nonfinite: NonFinite = "raise",
    checkpoint: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    decimal: bool = False,
    axis: int | None = None,
    field: str | int | None = None,
    **parameters: Any,
) -> ColumnScaler:
    """Fit a scaler to a table of any size, in one pass: exact, in any order, on any engine, with bounded memory.

    Per column, `"standard"` maps x to (x − mean) / std, `"minmax"` to (x − min) / (max − min), `"maxabs"` to
    x / max|x|, `"robust"` to (x − median) / (third − first quartile). Null and NaN are counted and left out.

    Args:
        source: Anything that `open_source` takes (files, arrays, frames, a `DataLoader`), or a dataset of an engine:
            a Dask array, data frame, bag, delayed object or list of these, a Ray Dataset, a Spark DataFrame.
        method: Which scaler.
        engine: `"local"`, `"threads"`, `"processes"`, `"dask"`, `"ray"`, `"spark"`; `"ranks"` of torch.distributed,
            each of which gives its own part of the data; or a callable that shares out the work. A dataset of an
            engine runs on that engine. All give the same bits.
        address: Of a cluster; see `onesigma.engines.engine_named`. None: the session that is there, or one of its own.
        columns: Names, patterns or positions; by default every column of numbers, with a warning about the others.
        nonfinite: `"raise"` on infinite values, or `"ignore"` them: count them and leave them out.
        checkpoint: File to continue from after a crash, on the same engine or another; see `scan`.
        progress: Called now and then.
        decimal: Keep decimal text of CSV exact; see `open_source`.
        axis: Axis of the columns; see `open_source`.
        field: Which part of a batch; see `open_source`.
        parameters: Of the scaler, such as `feature_range=(-1, 1)` for `"minmax"`.

    Returns:
        A `StandardScaler`, `MinMaxScaler`, `MaxAbsScaler` or `RobustScaler`, fitted.

    Raises:
        SourceError: The source cannot be read, has no rows, or holds infinities; they are counted and named.
        ConfigError: An unknown method, engine or policy, or an engine that is not installed.
        EngineError: The engine failed; nothing was counted.

    Example:
        >>> scaler = standardize({"miles": [100.0, 100_000.0, 40_000.0]}, method="minmax", engine="threads")
        >>> scaler.data_min_.tolist(), scaler.data_max_.tolist()
        ([100.0], [100000.0])
    """
    fitted, table = fit(
        source,
        engine=engine,
        address=address,
        reading={"columns": columns, "decimal": decimal, "axis": axis, "field": field},
        method=method,
        nonfinite=nonfinite,
        checkpoint=checkpoint,
        progress=progress,
        **parameters,
    )
    warn_left_out(table, stacklevel=3)
    return fitted.scaler


def fit(
    source: Any,
    *,
    engine: str | Runner = "local",
    address: str | None = None,
    reading: Mapping[str, Any],
    checkpoint: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    **fitting: Any,
) -> tuple[Fitted, Source]:
    """Fit a scaler on an engine; return it with the opened table. See `standardize`.

    Args:
        source: See `standardize`.
        engine: See `standardize`.
        address: See `standardize`.
        reading: `columns`, `decimal`, `axis` and `field` of `open_source`.
        checkpoint: See `standardize`.
        progress: See `standardize`.
        fitting: Of `fit_scaler`.

    Raises:
        OnesigmaError: See `standardize`.
    """
    name = _engine_for(source, engine)
    if name == "ranks":
        progress = None  # Ranks differ in the number of their files, and must meet once.
        if checkpoint is not None:
            raise ConfigError("checkpoint: ranks have different data; resume each with engine='local' and merge.")
    if callable(name) or name == "local":
        if address is not None:
            raise ConfigError(f"address={address!r} needs an engine: engine='dask', 'ray' or 'spark'.")
        table = open_source(source, **reading)
        return fit_scaler(table, engine=name, checkpoint=checkpoint, progress=progress, **fitting), table
    with engine_named(name, address=address) as runner:
        if engine_of(source) is None:
            table = runner.agreed(partial(open_source, source, **reading))
            run: Runner = partial(_over_shards, runner, checkpoint=checkpoint, progress=progress)
        else:
            if checkpoint is not None:
                raise ConfigError("checkpoint: only a pass over files can be resumed; pass paths instead of a dataset.")
            table = look(runner, source, **reading)
            run = partial(_over_dataset, runner, source, **{"columns": None, "axis": None, "field": None, **reading})
        return fit_scaler(table, engine=run, **fitting), table


def _engine_for(source: Any, engine: str | Runner) -> str | Runner:
    owner = engine_of(source)
    if owner is None or engine == owner:
        return engine
    if engine == "local":
        return owner
    raise ConfigError(
        f"engine={engine!r} was asked for, but the source is a dataset of {owner!r}; leave engine out, or pass paths."
    )


def look(engine: Engine, dataset: Any, **reading: Any) -> Source:
    """Choose the columns of an engine's dataset by a small example; it has no shards here."""
    name = f"{engine.name} {type(dataset).__name__}"
    try:
        table = open_source(engine.example(dataset), **reading)
    except SourceError as error:
        raise SourceError(f"{name}: {str(error).partition(': ')[2] or error}") from error
    return replace(table, shards=(), states=(), description=name)


def _over_dataset(
    engine: Engine,
    dataset: Any,
    table: Source,
    statistic: Statistic[Any],
    *,
    columns: Any,
    axis: int | None,
    field: str | int | None,
    **_: Any,
) -> Any:
    summary = Summary.by(statistic, names=table.names, whole=columns is None, axis=axis, field=field)
    parcel = engine.map_merge(engine.parts(dataset, table.names, axis=axis), summary, merge=join, zero=None)
    return statistic.zero if parcel is None else parcel.state


def _over_shards(
    engine: Engine,
    source: Source,
    statistic: Statistic[Any],
    *,
    checkpoint: str | Path | None,
    progress: Callable[[Progress], None] | None,
) -> Any:
    """Pass over files in waves, each longer than the one before up to some seconds; saved between two waves."""
    keeper = None if checkpoint is None else Checkpoint.of(source, statistic.name, path=checkpoint)
    saved = None if keeper is None else keeper.load()
    place, state = (Position(), None) if saved is None else (saved.position, Parcel(statistic.from_bytes(saved.state)))
    parts = parts_of(source.shards[place.shard :], workers=engine.workers, skip=place.blocks)
    began, resumed = time.monotonic(), place.rows
    size = max(len(parts), 1) if keeper is None and progress is None else 4 * engine.workers
    while True:
        wave, parts, started = parts[:size], parts[size:], time.monotonic()
        state = join(state, engine.map_merge(wave, Summary.by(statistic), merge=join, zero=None))
        place = _after(place, wave)
        if keeper is not None and parts:
            keeper.save(place, statistic.to_bytes(statistic.zero if state is None else state.state))
        if progress is not None:
            progress(
                Progress(
                    num_rows=place.rows,
                    total_rows=source.about_rows,
                    seconds=time.monotonic() - began,
                    resumed_rows=resumed,
                )
            )
        if not parts:
            break
        size *= 2 if time.monotonic() - started < _WAVE_SECONDS else 1
    if keeper is not None:
        keeper.remove()
    return statistic.zero if state is None else state.state


def _after(place: Position, wave: Sequence[Part]) -> Position:
    shards = [shard for part in wave for shard in part.shards]
    rows = sum(shard.num_rows or shard.about_rows or 0 for shard in shards)
    return Position(shard=place.shard + len(shards), rows=place.rows + rows)
