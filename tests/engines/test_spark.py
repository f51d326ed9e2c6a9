"""Spark gives the bits of the plain pass, from files and from DataFrames, also when a task fails at first."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import onesigma
from onesigma._errors import EngineError, SourceError
from onesigma.engines import Engine, engine_named
from onesigma.inputs.scan import columns_of
from onesigma.inputs.sources import open_source
from onesigma.workflows.parts import Summary, join
from tests.engines.cases import (
    REAL,
    assert_same_rows,
    fragile,
    hostile_lake,
    local_bytes,
    mixed_table,
    scaled_here,
    summed,
)

pyspark = pytest.importorskip("pyspark", reason="Spark is not installed: pip install 'onesigma[spark]'")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java 17: apt-get install default-jre-headless", allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*left out:onesigma.OnesigmaWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the socket to the Java process
]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[object]:
    # Two tasks at once, each tried twice, as a cluster does.
    with engine_named("spark", address="local[2,2]") as engine:
        engine.session.sparkContext.setLogLevel("OFF")
        engine.session.conf.set("spark.sql.session.timeZone", "UTC")
        yield engine.session


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture
def engine() -> Iterator[Engine]:
    with engine_named("spark") as engine:
        yield engine


@pytest.mark.parametrize("name", REAL)
def test_spark_equals_the_plain_pass_on_real_files(name: str) -> None:
    if not REAL[name].exists():
        pytest.skip(f"{REAL[name].name} is not here")
    assert onesigma.standardize(REAL[name], engine="spark").columns_.to_bytes() == local_bytes(REAL[name])


def test_spark_equals_the_plain_pass_on_hostile_columns(lake: Path, engine: Engine) -> None:
    assert summed(engine, lake) == local_bytes(lake)


def test_a_dataframe_keeps_every_bit(session: object, lake: Path) -> None:
    frame = session.read.parquet(str(lake))  # type: ignore[attr-defined]
    assert onesigma.standardize(frame, nonfinite="ignore").columns_.to_bytes() == local_bytes(lake)
    columns = ["wide", "day", "moment"]
    scaler = onesigma.standardize(frame.repartition(3), engine="spark", columns=columns)
    assert scaler.columns_.to_bytes() == local_bytes(lake, columns)


def test_a_dataframe_with_empty_partitions_and_odd_names_is_a_table(session: object) -> None:
    rows = [(float(x), "text") for x in range(2)]
    frame = session.createDataFrame(rows, ["a.b `c`", "t"]).repartition(4)  # type: ignore[attr-defined]
    with pytest.warns(onesigma.OnesigmaWarning, match="spark DataFrame: left out 't' is text"):
        scaler = onesigma.standardize(frame)
    assert scaler.columns_.to_bytes() == local_bytes({"a.b `c`": [0.0, 1.0]})


def test_an_error_of_a_worker_is_the_error_here(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x\n" + "1.5\n" * 300_000 + "abc\n")
    with pytest.raises(SourceError, match="abc"):
        onesigma.standardize(tmp_path / "x.csv", engine="spark")


@pytest.mark.parametrize("harm", ["kill", "wait", "raise"])
def test_a_killed_worker_a_straggler_and_a_part_that_raises_leave_the_bits_alone(
    harm: str, engine: Engine, tmp_path: Path
) -> None:
    array = np.random.default_rng(0).normal(1e8, 1.0, (400, 3))
    parts = fragile(np.split(array, 8), tmp_path / "done", harm=harm)
    summary = Summary.by(columns_of(open_source(array)), names=("x0", "x1", "x2"))
    parcel = engine.map_merge(parts, summary, merge=join, zero=None)
    assert (tmp_path / "done").exists()
    assert parcel.state.to_bytes() == local_bytes(array)


def test_a_dataframe_that_raises_or_holds_arrays_alone_is_one_clear_error(session: object) -> None:
    frame = session.createDataFrame([([1.0], 2.0)], ["l", "x"])  # type: ignore[attr-defined]
    assert onesigma.standardize(frame).columns_.to_bytes() == local_bytes({"x": [2.0]})
    with pytest.raises(SourceError, match="spark DataFrame: no column holds numbers: 'l' is not a number"):
        onesigma.standardize(frame.select("l"))
    with pytest.raises(SourceError, match="no rows; at least one row is wanted"):
        onesigma.standardize(frame.filter("x > 9"))

    def explode(batches: object) -> object:
        raise RuntimeError("the map exploded")

    with pytest.raises(EngineError, match=r"(?s)spark: the pass stopped: .*the map exploded"):
        onesigma.standardize(frame.select("x").mapInArrow(explode, "x double"))


def test_a_scaler_maps_a_dataframe_lazily_with_the_bits_of_apply(session: object, tmp_path: Path) -> None:
    table = mixed_table()
    pq.write_table(table, tmp_path / "table.parquet")
    scaler = onesigma.standardize(table, columns=["some", "wide", "nan"])
    lazy = onesigma.apply(scaler, session.read.parquet(str(tmp_path / "table.parquet")))  # type: ignore[attr-defined]
    assert_same_rows(lazy.repartition(3).toArrow(), scaled_here(scaler, table, tmp_path))


def test_transform_is_a_function_for_map_in_arrow(session: object, tmp_path: Path) -> None:
    table = mixed_table()
    pq.write_table(table, tmp_path / "table.parquet")
    frame = session.read.parquet(str(tmp_path / "table.parquet"))  # type: ignore[attr-defined]
    scaler = onesigma.standardize(table, columns=["some", "wide", "nan"])
    schema = onesigma.apply(scaler, frame).schema
    lazy = frame.repartition(3).mapInArrow(lambda batches: map(scaler.transform, batches), schema)
    assert_same_rows(lazy.toArrow(), scaled_here(scaler, table, tmp_path))
