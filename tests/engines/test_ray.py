"""Ray gives the bits of the plain pass, from files and from its own datasets, also when its workers die."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
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
    hostile_table,
    local_bytes,
    mixed_table,
    scaled_here,
    summed,
)

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'onesigma[ray]'")
pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'onesigma[ray]'")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*left out:onesigma.OnesigmaWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves log files of its processes open.
    pytest.mark.filterwarnings("ignore:Use 'expr' instead:UserWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    ray.init(
        num_cpus=2, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False, logging_level="error"
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture
def engine() -> Iterator[Engine]:
    with engine_named("ray") as engine:
        yield engine


@pytest.mark.parametrize("name", REAL)
def test_ray_equals_the_plain_pass_on_real_files(name: str) -> None:
    if not REAL[name].exists():
        pytest.skip(f"{REAL[name].name} is not here")
    assert onesigma.standardize(REAL[name], engine="ray").columns_.to_bytes() == local_bytes(REAL[name])


def test_ray_equals_the_plain_pass_on_hostile_columns(lake: Path, engine: Engine) -> None:
    assert summed(engine, lake) == local_bytes(lake)


def test_a_dataset_keeps_every_bit(lake: Path) -> None:
    expected = local_bytes(lake)
    for dataset in (ray.data.from_arrow(hostile_table()).repartition(5), ray.data.read_parquet(str(lake))):
        assert onesigma.standardize(dataset, nonfinite="ignore").columns_.to_bytes() == expected
    columns = ["wide", "day"]
    scaler = onesigma.standardize(ray.data.read_parquet(str(lake)), engine="ray", columns=columns)
    assert scaler.columns_.to_bytes() == local_bytes(lake, columns)


def test_datasets_of_arrays_of_pandas_and_of_rows_are_tables() -> None:
    array = np.random.default_rng(0).normal(size=(100, 3))
    assert onesigma.standardize(ray.data.from_numpy(array)).columns_.to_bytes() == local_bytes(array)
    rows = [{"a": float(a), "t": "x"} for a in array[:, 0]]
    expected = local_bytes({"a": array[:, 0]})
    assert onesigma.standardize(ray.data.from_items(rows, override_num_blocks=3)).columns_.to_bytes() == expected
    few = ray.data.from_items(rows, override_num_blocks=3).filter(lambda row: row["a"] > 1.5)
    assert onesigma.standardize(few).columns_.to_bytes() == local_bytes({"a": array[:, 0][array[:, 0] > 1.5]})


def test_an_error_of_a_worker_is_the_error_here(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x\n" + "1.5\n" * 300_000 + "abc\n")
    with pytest.raises(SourceError, match="abc"):
        onesigma.standardize(tmp_path / "x.csv", engine="ray")
    with pytest.raises(SourceError, match="ray MaterializedDataset: no column 'y'; the columns are 'x'"):
        onesigma.standardize(ray.data.from_items([{"x": 1.0}]), columns=["y"])


@pytest.mark.parametrize("harm", ["kill", "wait", "raise"])
def test_a_killed_worker_a_straggler_and_a_part_that_raises_leave_the_bits_alone(
    harm: str, engine: Engine, tmp_path: Path
) -> None:
    array = np.random.default_rng(0).normal(1e8, 1.0, (4000, 3))
    parts = fragile(np.split(array, 40), tmp_path / "done", harm=harm)
    summary = Summary.by(columns_of(open_source(array)), names=("x0", "x1", "x2"))
    parcel = engine.map_merge(parts, summary, merge=join, zero=None)
    assert (tmp_path / "done").exists()
    assert parcel.state.to_bytes() == local_bytes(array)


def test_a_worker_killed_in_a_pass_over_a_dataset_leaves_the_bits_alone(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(1e8, 1.0, 4000)
    flag = tmp_path / "done"

    def harmed(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        fragile([batch["x"]], flag, harm="kill")[0].__array__()  # type: ignore[attr-defined]
        return batch

    dataset = ray.data.from_items([{"x": float(x)} for x in array], override_num_blocks=8).map_batches(harmed)
    table = open_source({"x": array})
    with engine_named("ray") as engine:
        parcel = engine.map_merge(dataset, Summary.by(columns_of(table), names=("x",)), merge=join, zero=None)
    assert flag.exists()
    assert parcel.state.to_bytes() == local_bytes({"x": array})


def test_a_dataset_that_raises_or_drifts_is_one_error_with_the_words_of_the_worker() -> None:
    def explode(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if batch["x"][0] > 2:
            raise RuntimeError("the map exploded")
        return batch

    table = pa.table({"x": [1.5, 2.5], "k": [1, 2]})
    blocks = ray.data.from_arrow([table, table[1:]])
    with pytest.raises(EngineError, match=r"ray: the pass stopped: .*RuntimeError: the map exploded; nothing was"):
        onesigma.standardize(blocks.map_batches(explode, batch_size=None))
    with pytest.raises(EngineError, match='"k" does not exist'):
        onesigma.standardize(ray.data.from_arrow([table, table.select(["x"])]))
    with pytest.raises(SourceError, match="no rows; at least one row is wanted"):
        onesigma.standardize(blocks.filter(lambda row: row["x"] > 9))
    with engine_named("ray") as engine, pytest.raises(SourceError, match="no column 'z'"):
        engine.map_merge(blocks, Summary.by(columns_of(open_source(table)), names=("z",)), merge=join, zero=None)


def test_a_scaler_maps_a_dataset_lazily_with_the_bits_of_apply(tmp_path: Path) -> None:
    table = mixed_table()
    scaler = onesigma.standardize(table, columns=["some", "wide", "nan"])
    lazy = onesigma.apply(scaler, ray.data.from_arrow(table).repartition(3))
    mapped = pa.concat_tables(lazy.iter_batches(batch_size=None, batch_format="pyarrow"))
    assert_same_rows(mapped, scaled_here(scaler, table, tmp_path))


def test_transform_is_a_function_for_map_batches(tmp_path: Path) -> None:
    table = mixed_table()
    scaler = onesigma.standardize(table, columns=["some", "wide", "nan"])
    lazy = ray.data.from_arrow(table).repartition(3).map_batches(scaler.transform, batch_format="pyarrow")
    mapped = pa.concat_tables(lazy.iter_batches(batch_size=None, batch_format="pyarrow"))
    assert_same_rows(mapped, scaled_here(scaler, table, tmp_path))
