"""This machine: threads or processes, with nothing to install."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context
from pickle import PicklingError
from typing import Any, TypeVar

import pyarrow as pa

from onesigma._errors import ConfigError, EngineError
from onesigma.engines.protocol import tree_merged

__all__ = ["NoDatasets", "Processes", "Threads", "opened"]

S = TypeVar("S")
T = TypeVar("T")


class NoDatasets:
    """What an engine without datasets of its own says of them."""

    name: str

    def agreed(self, function: Callable[[], T]) -> T:
        """See `Engine`."""
        return function()

    def example(self, dataset: Any) -> Any:
        """See `Engine`; there are no datasets of its own."""
        raise EngineError(f"{self.name}: {type(dataset).__name__} is no dataset of this engine; pass it as a source.")

    def parts(self, dataset: Any, names: Sequence[str], *, axis: int | None = None) -> Any:
        """See `example`."""
        del names, axis
        return self.example(dataset)

    def map_tables(
        self, dataset: Any, of: Callable[[pa.Table], pa.Table], *, schema: pa.Schema, changed: Sequence[str]
    ) -> Any:
        """See `example`."""
        del of, schema, changed
        return self.example(dataset)


class _Pool(NoDatasets):
    """An executor of this machine as an engine; a few parts per worker are in flight, so memory stays flat."""

    name = "threads"

    def __init__(self, executor: Executor, workers: int) -> None:
        self.executor, self.workers = executor, workers

    def map_merge(self, shards: Sequence[Any], of: Callable[[Any], S], *, merge: Callable[[S, S], S], zero: S) -> S:
        """See `Engine`."""
        try:
            return tree_merged(self._states(shards, of), merge, zero=zero)
        except BrokenProcessPool as error:
            raise EngineError(
                f"{self.name}: a worker was killed, perhaps for want of memory; nothing was counted. Run it again, "
                f"with fewer workers (address='1'), or with engine='local', which continues from a checkpoint."
            ) from error
        except (PicklingError, AttributeError, TypeError) as error:
            if "pickle" not in str(error):
                raise
            raise EngineError(
                f"{self.name}: the data cannot be sent to another process ({error}); "
                f"pass files or arrays, or use engine='local'."
            ) from error

    def _states(self, shards: Sequence[Any], of: Callable[[Any], S]) -> Iterator[S]:
        coming: set[Future[S]] = set()
        try:
            for shard in shards:
                if len(coming) >= 2 * self.workers:
                    done, coming = wait(coming, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                coming.add(self.executor.submit(of, shard))
            while coming:
                done, coming = wait(coming, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in coming:
                future.cancel()


class Threads(_Pool):
    """Parts on threads of this process."""

    def __init__(self, workers: int) -> None:
        super().__init__(ThreadPoolExecutor(workers, thread_name_prefix="onesigma"), workers)


class Processes(_Pool):
    """Parts on processes of this machine, from a clean server: no lock or thread of this one is inherited."""

    name = "processes"

    def __init__(self, workers: int) -> None:
        super().__init__(ProcessPoolExecutor(workers, mp_context=_context(), initializer=_one_thread), workers)


def _context() -> Any:
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    # What is in use here is imported once, not by every process.
    context.set_forkserver_preload([name for name in sys.modules if name.startswith("onesigma.")])
    return context


def _one_thread() -> None:
    # The processes are the threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@contextmanager
def opened(name: str, *, address: str | None = None) -> Iterator[_Pool]:
    """Start the threads or processes, and end them."""
    workers = _number(name, address)
    pool = Threads(workers) if name == "threads" else Processes(workers)
    with pool.executor:
        yield pool


def _number(name: str, address: str | None) -> int:
    if address is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not address.isdecimal() or int(address) < 1:
        raise ConfigError(f"engine={name!r}: address={address!r} says how many workers, such as '4'; leave it out.")
    return int(address)
