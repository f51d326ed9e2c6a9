"""Dask gives the bits of the plain pass, from files and from its own collections, also when its workers die."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import onesigma
from onesigma._errors import ConfigError, EngineError, SourceError
from onesigma.engines import Engine, engine_named
from onesigma.inputs.scan import columns_of
from onesigma.inputs.sources import open_source
from onesigma.workflows.parts import Summary, join
from tests.engines.cases import (
    REAL,
    arrow_frame,
    assert_same_rows,
    fragile,
    hostile_lake,
    hostile_table,
    local_bytes,
    mixed_table,
    scaled_here,
    summed,
)

pytest.importorskip("dask", reason="Dask is not installed: pip install 'onesigma[dask]'")
distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install 'onesigma[dask]'")

import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from dask import delayed  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*left out:onesigma.OnesigmaWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of workers that were killed
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture
def engine() -> Iterator[Engine]:
    with engine_named("dask") as engine:
        yield engine


@pytest.mark.parametrize("name", REAL)
def test_dask_equals_the_plain_pass_on_real_files(name: str, engine: Engine) -> None:
    if not REAL[name].exists():
        pytest.skip(f"{REAL[name].name} is not here")
    expected = local_bytes(REAL[name])
    assert summed(engine, REAL[name]) == expected
    assert onesigma.standardize(REAL[name], engine="dask").columns_.to_bytes() == expected


def test_dask_equals_the_plain_pass_on_hostile_columns(lake: Path, engine: Engine) -> None:
    assert summed(engine, lake) == local_bytes(lake)
    columns = ["day", "moment", "wide"]
    scaler = onesigma.standardize(lake, engine="dask", columns=columns)
    assert scaler.columns_.to_bytes() == local_bytes(lake, columns)


def test_frames_of_arrow_columns_keep_every_bit(lake: Path) -> None:
    frame = dd.from_pandas(arrow_frame(hostile_table()), npartitions=5)
    scaler = onesigma.standardize(frame, nonfinite="ignore")
    assert scaler.columns_.to_bytes() == local_bytes(lake)


def test_a_frame_is_read_as_pandas_reads_it() -> None:
    frame = pd.DataFrame({"x": [1.0, None, 3.0] * 9, "k": range(27), "t": ["a", "b", None] * 9})
    with pytest.warns(onesigma.OnesigmaWarning, match="dask DataFrame: left out 't' is text"):
        scaler = onesigma.standardize(dd.from_pandas(frame, npartitions=4), engine="dask")
    assert scaler.columns_.to_bytes() == local_bytes(frame)
    assert onesigma.standardize(dd.from_pandas(frame, npartitions=2)["k"]).columns_.to_bytes() == local_bytes(
        frame["k"]
    )


def test_an_array_in_any_chunks_is_one_table() -> None:
    array = np.random.default_rng(0).normal(1e8, 1.0, (300, 7))
    for chunks in ((300, 7), (64, 3), (1, 7)):
        assert onesigma.standardize(da.from_array(array, chunks=chunks)).columns_.to_bytes() == local_bytes(array)
    images = array.reshape(-1, 3, 10, 10)
    scaler = onesigma.standardize(da.from_array(images, chunks=(2, 2, 5, 5)), axis=1)
    assert scaler.columns_.to_bytes() == onesigma.standardize(images, axis=1).columns_.to_bytes()


def test_a_bag_of_records_or_of_batches_is_a_table() -> None:
    array = np.random.default_rng(0).normal(size=(100, 2))
    records = [{"a": float(a), "b": float(b)} for a, b in array]
    frame = pd.DataFrame(records)
    assert onesigma.standardize(db.from_sequence(records, npartitions=7)).columns_.to_bytes() == local_bytes(frame)
    batches = db.from_sequence(np.split(array, 10), npartitions=3)
    assert onesigma.standardize(batches).columns_.to_bytes() == local_bytes(array)
    emptied = db.from_sequence(records, npartitions=7).filter(lambda record: record["a"] > 1.5)
    some = frame[frame["a"] > 1.5]
    assert onesigma.standardize(emptied).columns_.to_bytes() == local_bytes(some)


def test_delayed_tables_are_a_table() -> None:
    array = np.random.default_rng(0).normal(size=(100, 2))
    parts = [delayed(array[start::3]) for start in range(3)]
    assert onesigma.standardize(parts).columns_.to_bytes() == local_bytes(array)
    assert onesigma.standardize(parts[0]).columns_.to_bytes() == local_bytes(array[::3])


def test_a_dataset_does_not_go_to_another_engine_nor_to_a_checkpoint(tmp_path: Path) -> None:
    array = da.ones((4, 2))
    with pytest.raises(ConfigError, match="engine='ray' was asked for, but the source is a dataset of 'dask'"):
        onesigma.standardize(array, engine="ray")
    with pytest.raises(ConfigError, match="only a pass over files can be resumed"):
        onesigma.standardize(array, checkpoint=tmp_path / "scan")


def test_an_error_of_a_worker_is_the_error_here(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x\n" + "1.5\n" * 300_000 + "abc\n")
    with pytest.raises(SourceError, match="abc"):
        onesigma.standardize(tmp_path / "x.csv", engine="dask")


def test_no_scheduler_at_an_address_is_an_error_that_says_so() -> None:
    with pytest.raises(EngineError, match="dask: the pass stopped"), engine_named("dask", address="tcp://127.0.0.1:9"):
        pass


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    settings = {"distributed.comm.timeouts.connect": "60s", "distributed.scheduler.allowed-failures": 5}
    import dask

    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("harm", ["kill", "wait", "raise"])
def test_a_killed_worker_a_straggler_and_a_part_that_raises_leave_the_bits_alone(
    harm: str, client: object, tmp_path: Path
) -> None:
    array = np.random.default_rng(0).normal(1e8, 1.0, (4000, 3))
    parts = fragile(np.split(array, 40), tmp_path / "done", harm=harm)
    summary = Summary.by(columns_of(open_source(array)), names=("x0", "x1", "x2"))
    with engine_named("dask") as engine:
        parcel = engine.map_merge(parts, summary, merge=join, zero=None)
    assert (tmp_path / "done").exists()
    assert parcel.state.to_bytes() == local_bytes(array)


def test_a_part_given_twice_counts_twice_and_a_task_run_twice_once(client: object, tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(400, 3))
    futures = client.scatter(np.split(array, 8))  # type: ignore[attr-defined]
    tables = [delayed(future) for future in futures]
    assert onesigma.standardize(tables).columns_.to_bytes() == local_bytes(array)
    assert onesigma.standardize(tables + tables).columns_.to_bytes() == local_bytes(np.concatenate([array, array]))


def test_a_cluster_is_reached_by_its_address(client: object, lake: Path) -> None:
    address = client.scheduler.address  # type: ignore[attr-defined]
    scaler = onesigma.standardize(lake, engine="dask", address=address, nonfinite="ignore")
    assert scaler.columns_.to_bytes() == local_bytes(lake)


def test_a_scaler_maps_frames_lazily_with_the_bits_of_apply(tmp_path: Path) -> None:
    table = mixed_table()
    scaler = onesigma.standardize(table, columns=["some", "wide", "nan"])
    expected = scaled_here(scaler, table, tmp_path)
    lazy = onesigma.apply(scaler, dd.from_pandas(arrow_frame(table), npartitions=5))
    assert isinstance(lazy, dd.DataFrame)
    assert list(lazy.dtypes) == list(lazy.compute().dtypes)
    assert_same_rows(pa.Table.from_pandas(lazy.compute(), preserve_index=False), expected)


def test_a_frame_of_numpy_columns_keeps_its_index_and_its_other_columns() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan, 4.0, 7.0], "k": [1, 2, 3, 4]}, index=[3, 5, 7, 9])
    scaler = onesigma.standardize(frame, columns=["x"])
    mapped = onesigma.apply(scaler, dd.from_pandas(frame, npartitions=2)).compute()
    pd.testing.assert_frame_equal(mapped, frame.assign(x=scaler.transform(frame[["x"]])[:, 0]), check_exact=True)
    only = onesigma.apply(scaler, dd.from_pandas(frame, npartitions=2), only=True)
    assert list(only.columns) == ["x"]
    with pytest.raises(
        EngineError, match=r"map an array with array\.map_blocks\(scaler\.transform, dtype=array\.dtype\)"
    ):
        onesigma.apply(onesigma.standardize({"x0": [1.0, 2.0]}), da.ones((2, 1)))


def test_transform_is_a_function_for_map_partitions() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan, 4.0, 7.0], "y": [1, 2, 3, 5]}, index=[3, 5, 7, 9])
    scaler = onesigma.standardize(frame).set_output(transform="pandas")
    lazy = dd.from_pandas(frame, npartitions=2).map_partitions(scaler.transform)
    assert isinstance(lazy, dd.DataFrame)
    pd.testing.assert_frame_equal(lazy.compute(), scaler.transform(frame), check_exact=True)
