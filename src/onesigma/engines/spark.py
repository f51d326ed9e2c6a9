"""Spark: `mapInArrow` over a DataFrame, or over rows that hold shards of files; one tiny row a partition comes home."""

import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from onesigma._errors import OnesigmaError
from onesigma.engines.protocol import failing_as, tree_merged

__all__ = ["Spark", "opened"]

S = TypeVar("S")
T = TypeVar("T")

_TABLE_BYTES = 16 << 20


class Spark:
    """A Spark session, classic or Connect."""

    name = "spark"

    def __init__(self, session: Any, workers: int) -> None:
        self.session, self.workers = session, workers

    def map_merge(self, shards: Any, of: Callable[[Any], S], *, merge: Callable[[S, S], S], zero: S) -> S:
        """See `Engine`. Of a task that ran twice Spark takes one result."""
        with failing_as(self.name):
            held = shards if isinstance(shards, _Held) else self._hold(shards)
            function = _summarizing(of, merge, zero=zero, names=held.names)
            rows = held.frame.mapInArrow(function, "state binary").collect()
            state: S = tree_merged(_states_in(rows), merge, zero=zero)
            return state

    def _hold(self, shards: Sequence[Any]) -> "_Held":
        rows = [(index, cloudpickle.dumps(shard)) for index, shard in enumerate(shards)]
        frame = self.session.createDataFrame(rows, "number long, part binary")
        return _Held(frame.repartitionByRange(max(1, len(rows)), "number").select("part"))

    def agreed(self, function: Callable[[], T]) -> T:
        """See `Engine`."""
        return function()

    def example(self, dataset: Any) -> Any:
        """See `Engine`: no rows, but types."""
        with failing_as(self.name):
            return dataset.limit(0).toArrow()

    def parts(self, dataset: Any, names: Sequence[str], *, axis: int | None = None) -> Any:
        """See `Engine`: the DataFrame with these columns alone; lazy."""
        del axis
        return _Held(_plainly_named(dataset, names), tuple(names))

    def map_tables(
        self, dataset: Any, of: Callable[[pa.Table], pa.Table], *, schema: pa.Schema, changed: Sequence[str]
    ) -> Any:
        """See `Engine`."""
        del changed
        names = tuple(dataset.columns)

        def mapping(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                yield from of(pa.Table.from_batches([batch]).rename_columns(list(names))).to_batches()

        return _plainly_named(dataset, names).mapInArrow(mapping, from_arrow_schema(schema))


class _Held(NamedTuple):
    """A DataFrame with columns of these names; without names, one whose rows are pickled parts."""

    frame: Any
    names: tuple[str, ...] | None = None


def _plainly_named(frame: Any, names: Sequence[str]) -> Any:
    """Return these columns by other names: `mapInArrow` reads dots and backticks in a name as syntax."""
    columns = [f"`{name.replace('`', '``')}`" for name in names]
    return frame.select(columns).toDF(*[f"c{index}" for index in range(len(names))])


def _summarizing(
    of: Callable[[Any], Any], merge: Callable[[Any, Any], Any], *, zero: Any, names: tuple[str, ...] | None
) -> Any:
    """Return what runs on a partition: all of it becomes one row. An error of ours comes home as a row, too."""

    def summarize(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            parts = _parts_in(batches) if names is None else _tables_of(batches, names)
            state = tree_merged(map(of, parts), merge, zero=zero)
        except OnesigmaError as error:
            state = error  # Spark would make text of it.
        yield pa.RecordBatch.from_arrays([pa.array([pickle.dumps(state)], pa.binary())], ["state"])

    return summarize


def _parts_in(batches: Iterator[pa.RecordBatch]) -> Iterator[Any]:
    return (pickle.loads(cell.as_py()) for batch in batches for cell in batch[0])


def _tables_of(batches: Iterator[pa.RecordBatch], names: tuple[str, ...]) -> Iterator[pa.Table]:
    """Yield tables of some megabytes: Spark's batches are small, and each call costs."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(part.nbytes for part in waiting) >= _TABLE_BYTES:
            yield pa.Table.from_batches(waiting).rename_columns(list(names))
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting).rename_columns(list(names))


def _states_in(rows: Sequence[Any]) -> Iterator[Any]:
    for row in rows:
        state = pickle.loads(row.state)
        if isinstance(state, OnesigmaError):
            raise state
        yield state


@contextmanager
def opened(name: str, *, address: str | None = None) -> Iterator[Spark]:
    """Use the session that is there; else start one, or connect to one, and stop it at the end."""
    session = SparkSession.getActiveSession()
    started = session is None
    with failing_as(name):
        session = session or _started(address)
        workers = int(session.conf.get("spark.default.parallelism", None) or _cores(session))
    try:
        yield Spark(session, max(1, workers))
    finally:
        if started:
            session.stop()


def _started(address: str | None) -> Any:
    if address is not None and address.startswith("sc://"):
        return SparkSession.builder.remote(address).getOrCreate()
    builder = SparkSession.builder.appName("onesigma").config("spark.ui.enabled", "false")
    if address is None or address.startswith("local"):
        # Nothing is opened to the network.
        for key, value in {"bindAddress": "127.0.0.1", "host": "127.0.0.1"}.items():
            builder = builder.config(f"spark.driver.{key}", value)
    session = builder.master(address or "local[*]").getOrCreate()
    if address is None or address.startswith("local"):
        session.sparkContext.pythonExec = sys.executable  # The workers run this very Python.
    return session


def _cores(session: Any) -> int:
    try:
        return int(session.sparkContext.defaultParallelism)
    except PySparkException:  # Spark Connect does not tell.
        return 8
