"""Dask: arrays, data frames, bags and delayed objects, or shards of files, merged in a tree on the workers."""

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple, TypeVar

import dask
import dask.array
import dask.bag
import dask.system
import numpy as np
import pyarrow as pa
from dask.delayed import Delayed, delayed

from onesigma._errors import EngineError, SourceError
from onesigma.engines.protocol import FAN_IN, failing_as, grouped, tree_merged

__all__ = ["Dask", "opened"]

S = TypeVar("S")
T = TypeVar("T")

_RETRIES = 3


class Dask:
    """The client that is current, or the scheduler that Dask is configured with."""

    name = "dask"

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map_merge(self, shards: Sequence[Any], of: Callable[[Any], S], *, merge: Callable[[S, S], S], zero: S) -> S:
        """See `Engine`. Each result has a key: a task run twice is one result."""
        function = delayed(_Held(of), pure=False, traverse=False)  # One node of the graph: sent to each worker once.
        states = [_called(function, shard) for shard in shards]
        if not states:
            return zero
        join = partial(_joined, merge=merge, zero=zero)
        while len(states) > 1:
            states = [delayed(join, pure=False)(group) for group in grouped(states, FAN_IN)]
        with failing_as(self.name):
            # Only a cluster can try again; the schedulers of one process raise at once.
            (state,) = dask.compute(states[0], **({"retries": _RETRIES} if _has_client() else {}))
        result: S = state
        return result

    def agreed(self, function: Callable[[], T]) -> T:
        """See `Engine`."""
        return function()

    def example(self, dataset: Any) -> Any:
        """See `Engine`. Frames and arrays know their columns; of bags and delayed objects the first one is computed."""
        with failing_as(self.name):
            if _is_frame(dataset):
                return _example_of_frame(dataset)
            if isinstance(dataset, dask.array.Array):
                if any(map(math.isnan, dataset.shape[1:])):
                    raise EngineError("dask: the array does not know its columns; call compute_chunk_sizes() first.")
                return np.empty((0, *dataset.shape[1:]), dataset.dtype)
            if isinstance(dataset, dask.bag.Bag):
                return _rows(dataset.take(1, npartitions=1, warn=False) or dataset.take(1, npartitions=-1, warn=False))
            first = dataset[0] if isinstance(dataset, list | tuple) else dataset
            return first.compute()

    def parts(self, dataset: Any, names: Sequence[str], *, axis: int | None = None) -> list[Delayed]:
        """See `Engine`: one delayed table for each partition."""
        if _is_frame(dataset):
            return list(_columns(dataset, names).to_delayed())
        if isinstance(dataset, dask.array.Array):
            whole = dict.fromkeys([] if dataset.ndim < 2 else [axis if axis is not None else dataset.ndim - 1], -1)
            chunks = dataset.rechunk(whole).to_delayed().ravel()
            return [delayed(_shaped, pure=False)(chunk, dataset.shape) for chunk in chunks]
        if isinstance(dataset, dask.bag.Bag):
            return [delayed(_rows, pure=False)(part) for part in dataset.to_delayed()]
        return list(dataset) if isinstance(dataset, list | tuple) else [dataset]

    def map_tables(
        self, dataset: Any, of: Callable[[pa.Table], pa.Table], *, schema: pa.Schema, changed: Sequence[str]
    ) -> Any:
        """See `Engine`; columns backed by Arrow stay so, and the index stays."""
        if not _is_frame(dataset) or dataset.ndim < 2:
            raise EngineError(
                f"dask: a data frame is wanted, got {type(dataset).__name__}; "
                f"map an array with array.map_blocks(scaler.transform, dtype=array.dtype), a bag with .to_dataframe()."
            )
        kept = [column for column in dataset.columns if str(column) in schema.names]
        mapped = partial(_mapped, of=of, changed=tuple(changed))
        return dataset[kept].map_partitions(mapped, meta=mapped(dataset[kept]._meta))


class _Held(NamedTuple):
    """A function as a value."""

    function: Callable[[Any], Any]


def _called(function: Delayed, shard: Any) -> Delayed:
    if isinstance(shard, Delayed):
        return delayed(_call, pure=False)(shard, function)
    return delayed(partial(_call, shard), pure=False)(function)  # Dask looks for no graphs inside of a partial.


def _call(shard: Any, held: Any) -> Any:
    return held.function(shard)


def _joined(states: list[S], *, merge: Callable[[S, S], S], zero: S) -> S:
    return tree_merged(states, merge, zero=zero)


def _shaped(chunk: Any, shape: tuple[float, ...]) -> Any:
    """Return a chunk whose columns are as many as the array says; nobody else looks."""
    # Axes may be cut into chunks, and NaN stands for a length that nobody knows.
    if len(chunk.shape) == len(shape) and not any(map(operator.gt, chunk.shape[1:], shape[1:])):
        return chunk
    wanted = ", ".join(map(str, ("N", *shape[1:])))
    raise SourceError(
        f"dask Array: a chunk of shape {chunk.shape} is no part of an array of shape ({wanted}); "
        f"its function returns another shape than it was declared with."
    )


def _is_frame(dataset: Any) -> bool:
    return (
        hasattr(dataset, "map_partitions")
        and hasattr(dataset, "_meta")
        and hasattr(dataset, "npartitions")
        and (not isinstance(dataset, dask.array.Array))
    )


def _columns(frame: Any, names: Sequence[str]) -> Any:
    if frame.ndim == 1:
        return frame
    return frame[[column for column in frame.columns if str(column) in set(names)]]


def _example_of_frame(frame: Any) -> Any:
    # An empty column of objects says nothing of its values: decimals, dates or text.
    kinds = [frame.dtype] if frame.ndim == 1 else list(frame.dtypes)
    return frame.get_partition(0).compute() if object in kinds else frame._meta


def _rows(items: Any) -> Any:
    """Return a partition of a bag as a table: records become columns, batches stay a list of batches."""
    items = list(items)
    if not items or not all(_is_record(item) for item in items):
        return items
    names = list(dict.fromkeys(name for item in items for name in item))
    return pa.table({str(name): [item.get(name) for item in items] for name in names})


def _is_record(item: Any) -> bool:
    return isinstance(item, Mapping) and not any(
        hasattr(value, "__len__") and not isinstance(value, str | bytes) for value in item.values()
    )


def _mapped(frame: Any, *, of: Callable[[pa.Table], pa.Table], changed: tuple[str, ...]) -> Any:
    columns = [column for column in frame.columns if str(column) in changed]
    arrays = [pa.array(frame[column], from_pandas=True) for column in columns]
    mapped = of(pa.table(arrays, names=list(map(str, columns))))
    return frame.assign(**{column: _like(frame[column], mapped[str(column)]) for column in columns})


def _like(series: Any, array: pa.ChunkedArray) -> Any:
    """Return an Arrow column as a series beside this one: Arrow's if this is, else NumPy's, where null is NaN."""
    kept = {"types_mapper": type(series.dtype)} if hasattr(series.dtype, "pyarrow_dtype") else {}
    values = array.to_pandas(**kept)
    values.index = series.index
    return values


def _has_client() -> bool:
    try:
        return dask.base.get_scheduler() is not None and hasattr(dask.base.get_scheduler(), "__self__")
    except ValueError:
        return False


@contextmanager
def opened(name: str, *, address: str | None = None) -> Iterator[Dask]:
    """Connect to a scheduler at an address for as long as it is open; else use what is current."""
    with _client(address) if address else nullcontext() as client:
        threads = sum(client.nthreads().values()) if client is not None else dask.system.CPU_COUNT
        yield Dask(workers=threads)


def _client(address: str) -> Any:
    from distributed import Client  # A second package: only those who have a cluster need it.

    with failing_as("dask"):
        return Client(address, timeout="10s")
