"""Exact column moments of tables in memory, against scikit-learn, Polars and a bare read, in turn in one run."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import torch
from sklearn.preprocessing import StandardScaler

from onesigma.numbers.columns import Columns

__all__ = ["main"]

REPEATS = 5
BATCH = 65_536
SHAPES = {"32 columns": (4_000_000, 32), "wide": (10_000, 20_000), "one column": (128_000_000, 1)}


def main() -> None:
    """Print medians and ratios, and hold them to their bars."""
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    floats = _compare("float32, 4 000 000 × 32", _table(SHAPES["32 columns"], np.float32))
    doubles = _compare("float64, 1 000 000 × 32", _table((1_000_000, 32), np.float64))
    speeds = {name: _speed(shape) for name, shape in SHAPES.items()}
    for name, speed in speeds.items():
        print(f"  onesigma, float32, {name:<12} {speed / 1e9:6.2f} GB/s")
    _hold("float32 against partial_fit", floats["partial_fit"] / floats["onesigma"], 10)
    _hold("float32 against Polars", floats["Polars"] / floats["onesigma"], 3)
    _hold("float64 against partial_fit", doubles["partial_fit"] / doubles["onesigma"], 4)
    for name in ("wide", "one column"):
        _hold(f"{name} against 32 columns, bytes per second", speeds[name] / speeds["32 columns"], 0.5)


def _table(shape: tuple[int, int], dtype: type) -> np.ndarray:
    table = np.empty(shape, dtype)
    generator = np.random.default_rng(0)
    for part in np.array_split(table.reshape(-1), 64):
        part[:] = generator.standard_normal(part.size, np.float32) * 3 + 5
    return table


def _compare(title: str, table: np.ndarray) -> dict[str, float]:
    frame = pl.from_numpy(table)
    everything = [getattr(pl.all(), name)().name.suffix(f"_{name}") for name in ("mean", "std", "min", "max")]
    seconds = _medians(
        {
            "onesigma": lambda: Columns.of(table),
            "onesigma, batches": lambda: _in_batches(table),
            "partial_fit": lambda: _partial_fit(table),
            "Polars": lambda: frame.lazy().select(everything).collect(),
            "bare read": lambda: _read(table),
        }
    )
    print(title)
    for name, median in seconds.items():
        speed = table.nbytes / median / 1e9
        print(f"  {name:<18} {median * 1e3:8.1f} ms {speed:6.2f} GB/s   {median / seconds['onesigma']:6.2f} ×")
    return seconds


def _in_batches(table: np.ndarray) -> Columns:
    batches = (table[start : start + BATCH] for start in range(0, len(table), BATCH))
    return sum(map(Columns.of, batches), Columns.zero(f"x{i}" for i in range(table.shape[1])))


def _partial_fit(table: np.ndarray) -> None:
    scaler = StandardScaler()
    for start in range(0, len(table), BATCH):
        scaler.partial_fit(table[start : start + BATCH])


def _read(table: np.ndarray) -> None:
    """The maximum of all bytes as 64-bit words: about what memory gives to both cores."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(np.max, np.array_split(table.reshape(-1).view(np.int64), 16)))


def _speed(shape: tuple[int, int]) -> float:
    table = _table(shape, np.float32)
    return table.nbytes / _medians({"": lambda: Columns.of(table)})[""]


def _medians(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, taken in turn so that a busy moment meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(REPEATS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat:  # the first warms caches and compiles
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _hold(claim: str, ratio: float, bar: float) -> None:
    print(f"  {claim}: {ratio:.2f} ×, wanted {bar} ×")
    assert ratio >= bar, f"{claim}: {ratio:.2f} × is less than {bar} ×"


if __name__ == "__main__":
    main()
