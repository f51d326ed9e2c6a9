"""Engines against their own no-op pass, larger than memory; cost by rows and columns; wide tables; many merges.

    python -m benchmarks.engines [gigabytes] [engine | cost | summaries ...]

Without names all of it: 40 GB through local, dask and ray, then the cost by rows and columns, then many summaries.

The values are generated as they are read (float32 normals, 6 ns each on one core) and never stored. Wanted: at most
1.5 times the engine's own pass that only generates, flat memory, at most 200 bytes a column on the wire, cost linear
in rows and columns. Draws docs/images/engines-linear.svg.
"""

import math
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from onesigma.engines import engine_named, tree_merged
from onesigma.inputs.scan import columns_of, map_merge
from onesigma.inputs.sources import Shard, Source
from onesigma.inputs.sources.source import rows_per_block
from onesigma.workflows.parts import Parcel, Part, Summary, join, parts_of

COLUMNS, SHARD_BYTES = 64, 256 << 20
MAX_RATIO, MAX_BYTES_PER_COLUMN, MAX_GROWTH = 1.5, 200, 1.25
PLOT = Path(__file__).parents[1] / "docs" / "images" / "engines-linear.svg"


def generated(rows: int, columns: int, *, shard_bytes: int = SHARD_BYTES) -> Source:
    """A table of normals that nobody holds."""
    per_shard = max(1, min(rows, shard_bytes // (4 * columns)))
    starts = range(0, rows, per_shard)
    shards = tuple(
        Shard(
            read=partial(blocks_of, start, min(per_shard, rows - start), columns),
            name=f"generated {start}",
            num_rows=min(per_shard, rows - start),
            num_bytes=4 * columns * min(per_shard, rows - start),
        )
        for start in starts
    )
    names = tuple(f"x{index}" for index in range(columns))
    return Source(names=names, types=(pa.float32(),) * columns, shards=shards, description=f"{rows} x {columns}")


def blocks_of(seed: int, rows: int, columns: int, skip: int) -> Iterator[np.ndarray]:
    """Blocks of one shard; the same each time."""
    step = rows_per_block(4 * columns)
    for start in range(skip * step, rows, step):
        rng = np.random.Generator(np.random.SFC64([seed, start]))
        yield rng.standard_normal((min(step, rows - start), columns), dtype=np.float32)


def nothing(part: Part) -> int:
    """The no-op pass: all blocks are made, and dropped."""
    return sum(len(block) for block in part.blocks())  # type: ignore[arg-type]


def add(left: int, right: int) -> int:
    """Merge of the no-op pass."""
    return left + right


@contextmanager
def memory() -> Iterator[list[float]]:
    """While open, megabytes of this process and its children, twice a second (shared pages counted by share)."""
    seen: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            seen.append(sum(map(_megabytes, family(os.getpid()))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found


def _megabytes(pid: int) -> float:
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def run_engine(name: str, gigabytes: float) -> tuple[bytes, dict[str, float]]:
    """The no-op pass, then ours, in one session; and what memory did in ours."""
    source = generated(int(gigabytes * 1e9) // (4 * COLUMNS), COLUMNS)
    warm = generated(8 * 1024, COLUMNS, shard_bytes=4 * COLUMNS * 1024)
    statistic, none = columns_of(source), {"merge": join, "zero": None}
    if name == "local":
        part = Part(shards=source.shards)
        map_merge(warm, columns_of(warm))
        idle, rows = timed(partial(nothing, part))
        with memory() as seen:
            ours, columns = timed(partial(map_merge, source, statistic))
    else:
        with engine_named(name) as engine:
            parts = parts_of(source.shards, workers=engine.workers)
            engine.map_merge(parts_of(warm.shards, workers=4), Summary.by(columns_of(warm)), **none)
            idle, rows = timed(partial(engine.map_merge, parts, nothing, merge=add, zero=0))
            with memory() as seen:
                ours, parcel = timed(partial(engine.map_merge, parts, Summary.by(statistic), **none))
        columns = parcel.state
    third = max(1, len(seen) // 3)
    growth = max(seen[-third:], default=1.0) / max(seen[third : 2 * third], default=1.0)
    numbers = {"rows": rows, "idle": idle, "ours": ours, "peak": max(seen, default=math.nan), "growth": growth}
    return columns.to_bytes(), numbers


def engines(gigabytes: float, names: list[str]) -> list[str]:
    """Each engine; their bytes must be equal."""
    missed, all_bytes = [], set()
    print(f"{gigabytes:g} GB of float32, {COLUMNS} columns")
    print("engine      no-op s   ours s   ratio   GB/s   peak MB   growth")
    for name in names:
        found, numbers = run_engine(name, gigabytes)
        all_bytes.add(found)
        ratio = numbers["ours"] / numbers["idle"]
        speed = gigabytes / numbers["ours"]
        print(
            f"{name:10s} {numbers['idle']:8.1f} {numbers['ours']:8.1f} {ratio:7.2f} {speed:6.2f} "
            f"{numbers['peak']:9.0f} {numbers['growth']:8.2f}",
            flush=True,
        )
        missed += [f"{name}: ratio {ratio:.2f} > {MAX_RATIO}"] if ratio > MAX_RATIO else []
        missed += [f"{name}: memory grew {numbers['growth']:.2f} times"] if numbers["growth"] > MAX_GROWTH else []
    missed += ["engines differ in bytes"] if len(all_bytes) > 1 else []
    return missed


def linear() -> list[tuple[str, list[tuple[int, float]]]]:
    """CPU seconds of the plain pass by rows and by columns, less those of generating."""

    def cost(rows: int, columns: int) -> float:
        source = generated(rows, columns)
        blocks = list(source.blocks())
        statistic = columns_of(source)
        best = math.inf
        for _ in range(3):
            began = time.process_time()
            state = statistic.zero
            for block in blocks:
                state = statistic.merge(state, statistic.of(block))
            best = min(best, time.process_time() - began)
        return best

    cost(1024, 8)
    by_rows = [(rows, cost(rows, 64)) for rows in (1 << k for k in range(15, 21))]
    by_columns = [(columns, cost(1 << 13, columns)) for columns in (1 << k for k in range(6, 15))]
    return [("rows, of 64 columns", by_rows), ("columns, of 8192 rows", by_columns)]


def plot(series: list[tuple[str, list[tuple[int, float]]]]) -> str:
    """Two log-log panels with a line of slope 1."""
    panels = []
    for number, (title, points) in enumerate(series):
        left = 60 + 340 * number
        x0, x1 = math.log10(points[0][0]), math.log10(points[-1][0])
        low, high = math.log10(min(y for _, y in points)), math.log10(max(y for _, y in points))
        span = max(high - low, x1 - x0)
        place = [
            (left + 240 * (math.log10(x) - x0) / (x1 - x0), 210 - 170 * (math.log10(y) - low) / span) for x, y in points
        ]
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#2563eb"/>' for x, y in place)
        top = 210 - 170 * (x1 - x0) / span
        line = f'<line x1="{left}" y1="210" x2="{left + 240}" y2="{top:.1f}" stroke="#999" stroke-dasharray="4"/>'
        words = [(left, 235, f"{points[0][0]:,}"), (left + 200, 235, f"{points[-1][0]:,}"), (left, 25, title)]
        words += [(left - 55, 210, f"{points[0][1]:.2g} s"), (left - 55, 45, f"{10 ** (low + span):.2g} s")]
        panels.append(dots + line + "".join(f'<text x="{x}" y="{y}">{text}</text>' for x, y, text in words))
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 250" font-family="sans-serif" font-size="13">'
    return f'{head}<rect width="740" height="250" fill="white"/>{"".join(panels)}</svg>\n'


def slopes(series: list[tuple[str, list[tuple[int, float]]]]) -> None:
    """Exponents of the cost: 1 is linear."""
    for title, points in series:
        x, y = np.log([point[0] for point in points]), np.log([point[1] for point in points])
        slope = np.polyfit(x[len(x) // 2 :], y[len(y) // 2 :], 1)[0]
        print(f"cost by {title}: {points[0][1]:.3g} s at {points[0][0]:,}, {points[-1][1]:.3g} s at {points[-1][0]:,}, "
              f"exponent of the upper half {slope:.2f}")  # fmt: skip


def wide_and_many() -> list[str]:
    """100 000 columns; the size of a summary; a million merges."""
    missed = []
    for columns in (1, 64, 100_000):
        source = generated(512, columns)
        summary, part, began = Summary.by(columns_of(source)), Part(shards=source.shards), time.process_time()
        parcel = summary(part)
        seconds = time.process_time() - began
        size = len(pickle.dumps(parcel)) / columns
        print(f"{columns:,} columns of 512 rows: {seconds:.2f} s of CPU, {size:.0f} bytes a column on the wire")
        missed += [f"{columns} columns: {size:.0f} bytes each"] if size > MAX_BYTES_PER_COLUMN else []
    source = generated(1000, 1, shard_bytes=4)
    packed = [pickle.dumps(Summary.by(columns_of(source))(Part(shards=(shard,)))) for shard in source.shards]
    states = (pickle.loads(packed[index % 1000]) for index in range(1_000_000))
    with memory() as seen:
        seconds, merged = timed(lambda: tree_merged(states, join, zero=None))
    assert isinstance(merged, Parcel)
    assert merged.state["x0"].count == 1_000_000
    print(f"1,000,000 summaries of a column: {seconds:.0f} s, {max(seen, default=0):.0f} MB")
    return missed


def main() -> None:
    """All of it."""
    root = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))  # for workers
    arguments = [] if sys.argv[0].endswith("benchmarks/__main__.py") else sys.argv[1:]
    gigabytes, *parts = (float(arguments[0]), *arguments[1:]) if arguments else (40.0,)
    parts = parts or ["local", "dask", "ray", "cost", "summaries"]
    named = [part for part in parts if part not in ("cost", "summaries")]
    missed = engines(gigabytes, named) if named else []
    if "cost" in parts:
        found = linear()
        slopes(found)
        PLOT.parent.mkdir(exist_ok=True)
        PLOT.write_text(plot(found))
    if "summaries" in parts:
        missed += wide_and_many()
    assert not missed, "; ".join(missed)


if __name__ == "__main__":
    from benchmarks.engines import main as imported  # by its name, so that workers find the same functions

    imported()
