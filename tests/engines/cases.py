"""Tables on which engines must agree, and what the local pass says of them."""

import os
import signal
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from onesigma.engines import Engine
from onesigma.inputs.apply import apply
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.scan import columns_of, scan
from onesigma.inputs.sources import open_source
from onesigma.workflows.parts import Part, Summary, join

DATA = Path(__file__).parents[3] / "shared" / "data"
REAL = {
    "taxis": DATA / "green_tripdata_2022-01.parquet",
    "wine": DATA / "winequality-red.csv",
    "flights": DATA / "flights-200k.arrow",
    "cars": DATA / "auto-mpg.csv",
}


def hostile_table(rows: int = 1200) -> pa.Table:
    """NaN, infinities, extremes, subnormals, constants, nulls, decimals, wide integers, dates: a column of each."""
    rng = np.random.default_rng(0)
    ordinary = rng.normal(1e8, 1.0, rows)
    holes = rng.random(rows) < 0.3
    times = rng.integers(0, 2**50, rows)
    return pa.table(
        {
            "ordinary": ordinary,
            "single": rng.normal(size=rows).astype(np.float32),
            "nan": np.where(holes, np.nan, ordinary),
            "inf": np.where(holes, np.inf, np.where(rng.random(rows) < 0.1, -np.inf, ordinary)),
            "huge": rng.normal(size=rows) * 1e300,
            "tiny": rng.normal(size=rows) * 1e-300,
            "spread": rng.normal(size=rows) * 10.0 ** rng.integers(-300, 300, rows),
            "subnormal": rng.integers(-9, 9, rows) * 5e-324,
            "constant": np.full(rows, 0.1),
            "null": pa.nulls(rows, pa.float64()),
            "some": pa.array(ordinary, mask=holes),
            "wide": pa.array(rng.integers(-(2**63), 2**63 - 1, rows), mask=holes),
            "decimal": pa.array(
                [Decimal(int(k)) / 100 for k in rng.integers(-(10**9), 10**9, rows)], pa.decimal128(20, 2)
            ),
            "flag": rng.random(rows) < 0.5,
            "day": pa.array(rng.integers(0, 30_000, rows).astype(np.int32)).cast(pa.date32()),
            "moment": pa.array(times).cast(pa.timestamp("us")),
        }
    )


def hostile_lake(folder: Path) -> Path:
    """The hostile table in three Parquet files of several row groups; one of them has no rows."""
    table = hostile_table()
    for index, part in enumerate((table[:500], table[:0], table[500:])):
        pq.write_table(part, folder / f"part-{index}.parquet", row_group_size=120)
    return folder


def arrow_frame(table: pa.Table) -> pd.DataFrame:
    """A pandas frame that holds the Arrow columns as they are."""
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def local_bytes(source: object, columns: list[str] | None = None) -> bytes:
    """Canonical bytes of the exact statistics, by the pass that needs no engine."""
    return scan(open_source(source, columns)).to_bytes()


def summed(engine: Engine, source: object) -> bytes:
    """Canonical bytes by an engine, every shard a part of its own."""
    table = open_source(source)
    parts = [Part(shards=(shard,)) for shard in table.shards]
    parcel = engine.map_merge(parts, Summary.by(columns_of(table)), merge=join, zero=None)
    return parcel.state.to_bytes()


def fragile(arrays: Sequence[np.ndarray], flag: Path, *, harm: str) -> list[object]:
    """Tables that take a while; to the first that is read, something happens, once in all processes."""

    class Fragile:  # In a function, so that engines send the class itself: workers cannot import a test.
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            time.sleep(0.02)
            try:
                flag.touch(exist_ok=False)
            except FileExistsError:
                return self.array
            if harm == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if harm == "wait":
                time.sleep(2.0)
            if harm == "raise":
                raise OSError("the disk stuttered")
            return self.array

    return [Fragile(array) for array in arrays]


def scaled_here(scaler: ColumnScaler, source: object, folder: Path) -> pa.Table:
    """The table as `onesigma apply` writes it."""
    apply(scaler, source, to=folder / "scaled.parquet")
    return pq.read_table(folder / "scaled.parquet")


def mixed_table() -> pa.Table:
    """Columns to scale with nulls and NaN, between others that pass through."""
    table = hostile_table()
    text = pa.array([f"row {index}" for index in range(table.num_rows)])
    return table.select(["some", "wide", "nan", "day", "ordinary"]).append_column("text", text)


def assert_same_rows(mine: pa.Table, theirs: pa.Table) -> None:
    """Equal names, values and nulls, bit for bit but for the bits of a NaN, whatever the order of the rows."""
    assert mine.column_names == theirs.column_names
    mine, theirs = (table.take(np.argsort(table["text"].to_numpy(zero_copy_only=False))) for table in (mine, theirs))
    for name in mine.column_names:
        left, right = (table[name].combine_chunks() for table in (mine, theirs))
        assert left.is_null(nan_is_null=False).equals(right.is_null(nan_is_null=False)), name
        left, right = (array.to_numpy(zero_copy_only=False) for array in (left.drop_null(), right.drop_null()))
        np.testing.assert_array_equal(left, right, err_msg=name)
