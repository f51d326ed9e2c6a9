"""Ray: tasks over shards of files, or a Ray Dataset whose blocks become rows of a few hundred bytes."""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import ray
import ray.data

from onesigma._errors import EngineError, OnesigmaError
from onesigma.engines.protocol import FAN_IN, failing_as, grouped, tree_merged

__all__ = ["Ray", "opened"]

S = TypeVar("S")
T = TypeVar("T")

_RETRIES = 3


class Ray:
    """The Ray session of this process."""

    name = "ray"

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map_merge(self, shards: Any, of: Callable[[Any], S], *, merge: Callable[[S, S], S], zero: S) -> S:
        """See `Engine`. A task of a dead worker runs again; each reference has one result."""
        with failing_as(self.name):
            if isinstance(shards, ray.data.Dataset):
                states = _states_of_blocks(shards, of)
            else:
                states = _states_of_parts(
                    shards, of, join=partial(_joined, merge=merge, zero=zero), most=4 * self.workers
                )
            return tree_merged(states, merge, zero=zero)

    def agreed(self, function: Callable[[], T]) -> T:
        """See `Engine`."""
        return function()

    def example(self, dataset: Any) -> Any:
        """See `Engine`: the first rows."""
        with failing_as(self.name):
            schema = dataset.schema()
            if schema is None:
                raise EngineError("ray: the dataset has no columns; is it empty?")
            tensor = _tensor_column(dataset)
            if tensor is not None:
                return dataset.take_batch(1, batch_format="numpy")[tensor][:0]
            if isinstance(schema.base_schema, pa.Schema):
                return schema.base_schema.empty_table()
            return dataset.take_batch(64, batch_format="pyarrow")

    def parts(self, dataset: Any, names: Sequence[str], *, axis: int | None = None) -> Any:
        """See `Engine`: the dataset with these columns alone; lazy."""
        del axis
        return dataset if _tensor_column(dataset) is not None else dataset.select_columns(list(names))

    def map_tables(
        self, dataset: Any, of: Callable[[pa.Table], pa.Table], *, schema: pa.Schema, changed: Sequence[str]
    ) -> Any:
        """See `Engine`."""
        del schema, changed  # Ray finds out when it runs.
        return dataset.map_batches(of, batch_format="pyarrow", batch_size=None)


def _tensor_column(dataset: Any) -> str | None:
    """Return the name of the one column of a dataset that holds a row of an array in each row; else None."""
    schema = dataset.schema()
    if len(schema.names) == 1 and "Tensor" in type(schema.types[0]).__name__:
        return str(schema.names[0])
    return None


def _states_of_blocks(dataset: Any, of: Callable[[Any], S]) -> Iterator[S]:
    tensor = _tensor_column(dataset)
    cells = dataset.map_batches(
        partial(_cell, of=of, tensor=tensor),
        batch_format="pyarrow" if tensor is None else "numpy",
        batch_size=None,
        zero_copy_batch=True,
    )
    for row in cells.iter_rows():
        state = pickle.loads(row["state"])
        if isinstance(state, OnesigmaError):
            raise state
        yield state


def _cell(table: Any, *, of: Callable[[Any], Any], tensor: str | None) -> pa.Table:
    try:
        state = of(table if tensor is None else table[tensor])
    except OnesigmaError as error:
        state = error  # Ray Data would make text of it.
    return pa.table({"state": pa.array([pickle.dumps(state)], pa.binary())})


def _states_of_parts(
    shards: Iterable[Any], of: Callable[[Any], S], *, join: Callable[[list[S]], S], most: int
) -> Iterator[S]:
    """Yield states as tasks end, joined in a tree of two levels on the workers; a bounded number is in flight."""
    task = ray.remote(_call).options(max_retries=_RETRIES)
    joining = ray.remote(_join).options(max_retries=_RETRIES)
    held, coming = ray.put((of, join)), list[Any]()
    try:
        for group in grouped(shards, FAN_IN**2):
            while len(coming) * FAN_IN**2 >= max(most, 2 * FAN_IN**2):
                done, coming = ray.wait(coming)
                yield from ray.get(done)
            states = [task.remote(held, ray.put(shard)) for shard in group]
            coming.append(joining.remote(held, *[joining.remote(held, *few) for few in grouped(states, FAN_IN)]))
        while coming:
            done, coming = ray.wait(coming)
            yield from ray.get(done)
    finally:
        for reference in coming:
            ray.cancel(reference)


def _call(held: Any, shard: Any) -> Any:
    return held[0](shard)


def _join(held: Any, *states: Any) -> Any:
    return held[1](list(states))


def _joined(states: list[S], *, merge: Callable[[S, S], S], zero: S) -> S:
    return tree_merged(states, merge, zero=zero)


@contextmanager
def opened(name: str, *, address: str | None = None) -> Iterator[Ray]:
    """Use the session that is there; else start one, or connect to one, and leave it at the end."""
    started = not ray.is_initialized()
    if started:
        with failing_as(name):
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield Ray(workers=max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        if started:
            ray.shutdown()
