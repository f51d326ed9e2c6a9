"""Data that drift, are odd or empty, and datasets that lie: the bits of the plain pass, or one error that says why."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import onesigma
from onesigma._errors import EngineError, OnesigmaError, SourceError
from tests.engines.cases import arrow_frame

dask = pytest.importorskip("dask", reason="Dask is not installed: pip install 'onesigma[dask]'")
pytest.importorskip("dask.dataframe", reason="Dask's data frames are not installed: pip install 'onesigma[dask]'")

import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from dask import delayed  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*left out:onesigma.OnesigmaWarning")

TABLE = pa.table({"x": [1.5, 2.5, 4.0], "k": [1, 2, 3]})
SMALL = pa.table({"x": [float("nan")] * 2, "k": [5, 6]})
WORDS = pa.array(["a", "b"])
FINE = {
    "another order": [TABLE, TABLE.select(["k", "x"])],
    "integers, then floats": [pa.table({"x": [1, 2**60 + 1]}), pa.table({"x": [1.5]})],
    "one more column": [TABLE, TABLE.append_column("z", pa.array([1.0, 2.0, 3.0]))],
    "an empty file first": [TABLE[:0], TABLE],
    "a part of NaN": [TABLE, SMALL],
    "a part of nulls": [pa.table({"x": pa.nulls(2), "k": [5, 6]}), TABLE],
    "a dictionary, then plain": [
        pa.table({"x": pa.array([1.5, 2.5, 1.5]).dictionary_encode()}),
        pa.table({"x": [1.0]}),
    ],
    "decimals of two scales": [
        pa.table({"d": pa.array([Decimal("1.5")], pa.decimal128(10, 1))}),
        pa.table({"d": pa.array([Decimal("1.25")], pa.decimal128(10, 2))}),
    ],
    "odd columns": [
        pa.table(
            {
                "bytes": pa.array([1, 255], pa.uint8()),
                "flag": [True, False],
                "text": WORDS.cast(pa.large_string()),
                "coded": WORDS.dictionary_encode(),
                "when": pa.array([1, 2], pa.timestamp("us")),
                "list": [[1.0], [2.0, 3.0]],
                "record": [{"a": 1}, {"a": 2}],
            }
        )
    ],
}
WRONG = {
    "a column less": ([TABLE, TABLE.select(["x"])], "no column 'k'"),
    "floats, then text": ([TABLE, pa.table({"x": WORDS, "k": [1, 2]})], "column 'x'.*(text|string)"),
    "decimals, then floats": (
        [pa.table({"d": pa.array([Decimal("1.5")])}), pa.table({"d": [1.25]})],
        r"convert (it|one column)",
    ),
    "flags, then integers": ([pa.table({"b": [True]}), pa.table({"b": [1]})], r"convert (it|one column)"),
    "no rows anywhere": ([TABLE[:0], TABLE[:0]], "no rows; at least one row is wanted"),
    "text alone": ([pa.table({"t": WORDS})], "no column holds numbers: 't' is text"),
    "lists alone": ([pa.table({"l": [[1.0], [2.0]]})], r"no column holds numbers: 'l' is not a number \(list"),
    "no columns": ([pa.table({})], "no column holds numbers: it has no columns"),
}


def lake_of(tables: list[pa.Table], folder: Path) -> Path:
    for index, table in enumerate(tables):
        pq.write_table(table, folder / f"part-{index}.parquet")
    return folder


def ways_of(tables: list[pa.Table], folder: Path) -> dict[str, Callable[[], Any]]:
    """The same data by every road that needs no cluster."""
    lake = lake_of(tables, folder)
    ways: dict[str, Callable[[], Any]] = {
        "threads": lambda: onesigma.standardize(lake, engine="threads"),
        "dask, files": lambda: onesigma.standardize(lake, engine="dask"),
        "dask, delayed": lambda: onesigma.standardize([delayed(table) for table in tables]),
    }
    frames = [arrow_frame(table) for table in tables]
    if all(list(frame.columns) == list(frames[0].columns) for frame in frames):
        frame = dd.from_map(lambda index: frames[index], range(len(frames)), meta=frames[0].iloc[:0])
        ways["dask, frame"] = lambda: onesigma.standardize(frame)
    return ways


@pytest.mark.parametrize("name", FINE)
def test_what_drifts_without_harm_gives_the_bits_of_the_plain_pass(name: str, tmp_path: Path) -> None:
    ways = ways_of(FINE[name], tmp_path)
    expected = onesigma.standardize(tmp_path).columns_.to_bytes()
    for way, standardized in ways.items():
        assert standardized().columns_.to_bytes() == expected, way


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_add_up_is_the_same_error_everywhere(name: str, tmp_path: Path) -> None:
    tables, words = WRONG[name]
    ways = ways_of(tables, tmp_path)
    for standardized in (lambda: onesigma.standardize(tmp_path), *ways.values()):
        with pytest.raises(SourceError, match=words):
            standardized()


def frame() -> Any:
    return dd.from_pandas(pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "k": [1, 2, 3, 4]}), npartitions=2)


def made(table: Any, shape: tuple[float, ...]) -> Any:
    return da.from_delayed(delayed(lambda: table)(), shape=shape, dtype=float)


def raising(*_: object) -> Any:
    raise RuntimeError("it breaks on purpose")


LIES = {
    "text behind numbers": (lambda: frame().map_partitions(lambda p: p.assign(x="a"), meta=frame()._meta), "'x'.*text"),
    "a column less": (lambda: frame().map_partitions(lambda p: p[["k"]], meta=frame()._meta), r"Missing: \['x'\]"),
    "a partition that raises": (lambda: frame().map_partitions(raising, meta=frame()._meta), "it breaks on purpose"),
    "more columns": (lambda: made(np.ones((4, 3)), (4, 2)), r"chunk of shape \(4, 3\) is no part of .*\(N, 2\)"),
    "fewer columns": (lambda: made(np.ones((4, 2)), (4, 3)), "no column 'x2'"),
    "unknown columns": (lambda: made(np.ones((4, 2)), (4, np.nan)), "compute_chunk_sizes"),
    "text for floats": (lambda: made(np.array([["a", "b"]]), (1, 2)), "must be real numbers"),
    "complex numbers": (lambda: da.ones((4, 2), dtype=complex), "must be real numbers"),
    "a scalar": (lambda: da.ones((4, 2)).sum(), "this is a single number"),
    "nothing": (lambda: [delayed(None)], "a table is wanted"),
    "nothing later": (lambda: [delayed(np.ones((2, 2))), delayed(None)], "a table is wanted"),
    "a later one that is wider": (
        lambda: [delayed(np.ones((2, 2))), delayed(np.ones((2, 3)))],
        r"shape \(2, 3\) has 3 columns, the first 2",
    ),
    "a number": (lambda: [delayed(5)], "a table is wanted"),
    "a function that raises": (lambda: [delayed(np.ones((2, 2))), delayed(raising)()], "it breaks on purpose"),
    "text in a bag": (lambda: db.from_sequence([{"a": 1.0}, {"a": "x"}], npartitions=2), "'a' must hold numbers"),
    "keys that come and go": (lambda: db.from_sequence([{"a": 1.0}, {"b": 1.0}], npartitions=2), "no column 'a'"),
    "an empty bag": (lambda: db.from_sequence([{"a": 1.0}], npartitions=1).filter(lambda _: False), "no rows"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_dask_dataset_that_lies_is_one_clear_error(name: str) -> None:
    dataset, words = LIES[name]
    with (
        dask.config.set(scheduler="threads"),
        pytest.raises(OnesigmaError, match=words) as caught,
    ):
        onesigma.standardize(dataset())
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SourceError | EngineError)


def test_dask_datasets_that_do_not_know_their_cut_are_read() -> None:
    array = np.arange(20.0).reshape(10, 2)
    whole = da.from_array(array, chunks=(3, 1))
    expected = onesigma.standardize(array[array[:, 0] > 5]).columns_.to_bytes()
    assert onesigma.standardize(whole[whole[:, 0] > 5]).columns_.to_bytes() == expected
    assert onesigma.standardize(made(array, (np.nan, 2))).columns_.to_bytes() == (
        onesigma.standardize(array).columns_.to_bytes()
    )
    table = frame()
    some = onesigma.standardize(table.compute()[lambda rows: rows.x > 3]).columns_.to_bytes()
    assert onesigma.standardize(table.clear_divisions()[table.clear_divisions().x > 3]).columns_.to_bytes() == some
