"""Fit from Parquet against reading it with pyarrow alone: time, and peak memory of a process of its own.

    python -m benchmarks.parquet [gigabytes]

Wanted: at most 1.3 times the time of reading, and less than 500 MB, whatever the file's size. The file is generated in
a temporary folder and deleted.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS, ROW_GROUP, REPEATS = 32, 1 << 18, 5
MAX_RATIO, MAX_MEGABYTES = 1.3, 500

READ = dedent("""
    import pyarrow.parquet as pq

    def work(path):
        return sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches())

    def warm_up():
        pass
""")
FIT = dedent("""
    from onesigma.inputs.sources import open_source
    from onesigma.inputs.standardize import standardize
    import numpy as np

    def work(path):
        return next(iter(standardize(path).columns_.values())).count

    def warm_up():  # the compiled loops are loaded once in a process
        standardize({"x": np.zeros(8, dtype=np.float32)})
""")
TIMED = dedent("""
    import json, sys, time
    warm_up()
    began = time.perf_counter()
    rows = work(sys.argv[1])
    seconds = time.perf_counter() - began
    # Not `ru_maxrss`, which begins with that of the process that started this one.
    status = open("/proc/self/status").read().split()
    peak = int(status[status.index("VmHWM:") + 1]) / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "megabytes": peak}))
""")


def main() -> None:
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        rows = generate(path, num_bytes=int(gigabytes * 1e9))
        print(f"{path.stat().st_size / 1e9:.2f} GB, {rows:,} rows × {COLUMNS} float32 columns, median of {REPEATS}")
        runs: dict[str, list[dict[str, float]]] = {"read": [], "fit": []}
        for _ in range(REPEATS):  # in turn, so that a change of the machine's load meets both
            for name, code in (("read", READ), ("fit", FIT)):
                runs[name].append(measured(code, path))
        report(runs, rows=rows)


def generate(path: Path, *, num_bytes: int) -> int:
    """Write normal columns, a row group at a time; return the number of rows."""
    rng = np.random.default_rng(0)
    schema = pa.schema([(f"x{index}", pa.float32()) for index in range(COLUMNS)])
    groups = max(1, round(num_bytes / (4 * COLUMNS * ROW_GROUP)))
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for _ in range(groups):
            matrix = rng.standard_normal((COLUMNS, ROW_GROUP), dtype=np.float32)
            writer.write_table(pa.Table.from_arrays([pa.array(row) for row in matrix], schema=schema))
    return groups * ROW_GROUP


def measured(code: str, path: Path) -> dict[str, float]:
    """Run in a fresh process, so that its peak memory is its own."""
    done = subprocess.run([sys.executable, "-c", code + TIMED, str(path)], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def report(runs: dict[str, list[dict[str, float]]], *, rows: int) -> None:
    seconds = {name: statistics.median(run["seconds"] for run in found) for name, found in runs.items()}
    peaks = {name: max(run["megabytes"] for run in found) for name, found in runs.items()}
    assert all(run["rows"] == rows for found in runs.values() for run in found)
    for name, label in (("read", "pyarrow reads"), ("fit", "onesigma fits")):
        speed = rows * COLUMNS * 4 / seconds[name] / 1e9
        print(f"{label:<15} {seconds[name]:6.2f} s  {speed:5.2f} GB/s  peak {peaks[name]:5.0f} MB")
    ratio = seconds["fit"] / seconds["read"]
    print(f"ratio {ratio:.2f}, wanted ≤ {MAX_RATIO}: {'met' if ratio <= MAX_RATIO else 'MISSED'}")
    print(
        f"peak {peaks['fit']:.0f} MB, wanted < {MAX_MEGABYTES}: {'met' if peaks['fit'] < MAX_MEGABYTES else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
