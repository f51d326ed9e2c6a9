"""One door: whatever holds a table, the same numbers come out."""

import pickle
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch
from torch.utils.data import DataLoader, TensorDataset

from onesigma._errors import SourceError
from onesigma.inputs.scan import columns_of, scan
from onesigma.inputs.sources import Source, load_table, open_source
from onesigma.numbers.columns import Columns

DATA = Path(__file__).parents[3] / "shared" / "data"
NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table({name: np.round(rng.normal(10.0**k, 2.0, 1000), 4) for k, name in enumerate(NAMES)})


def matrix(table: pa.Table) -> np.ndarray:
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def wanted(table: pa.Table) -> Columns:
    return Columns.of(table)


def write(table: pa.Table, path: Path) -> Path:
    match path.suffix:
        case ".parquet":
            pq.write_table(table, path, row_group_size=300)
        case ".csv":
            arrow_csv.write_csv(table, path)
        case ".arrow" | ".feather":
            with pa.ipc.new_file(str(path), table.schema) as file:
                file.write_table(table, max_chunksize=300)
        case ".arrows":
            with pa.ipc.new_stream(str(path), table.schema) as file:
                file.write_table(table)
        case ".npz":
            np.savez(path, **{name: table[name].to_numpy() for name in table.column_names})
        case ".jsonl":
            path.write_text(table.to_pandas().to_json(orient="records", lines=True, double_precision=15))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".arrow", ".feather", ".arrows", ".npz", ".jsonl"])
def test_every_file_format_gives_the_same_statistics(suffix: str, table: pa.Table, tmp_path: Path) -> None:
    source = open_source(write(table, tmp_path / f"table{suffix}"))
    assert source.names == tuple(NAMES)
    assert scan(source) == wanted(table)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_either_order_gives_the_statistics_of_the_array(order: Any, table: pa.Table, tmp_path: Path) -> None:
    array = np.asarray(matrix(table), order=order)
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", x=array)
    for name in ("x.npy", "x.npz"):
        source = open_source(tmp_path / name)
        assert (source.names, source.num_rows) == (("x0", "x1", "x2"), 1000)
        assert scan(source) == Columns.of(array)


IN_MEMORY = {
    "dict": lambda t: {name: t[name].to_numpy() for name in t.column_names},
    "dict of tensors": lambda t: {name: torch.from_numpy(t[name].to_numpy().copy()) for name in t.column_names},
    "pandas": lambda t: t.to_pandas(),
    "pandas, with an index": lambda t: t.to_pandas().set_index(pd.Index(range(5, 1005), name="id")),
    "polars": pl.from_arrow,
    "polars, lazy": lambda t: pl.from_arrow(t).lazy(),
    "arrow table": lambda t: t,
    "arrow reader": lambda t: t.to_reader(max_chunksize=77),
    "list of batches": lambda t: t.to_batches(max_chunksize=77),
    "iterator of frames": lambda t: (t.slice(start, 99).to_pandas() for start in range(0, 1000, 99)),
    "structured array": lambda t: t.to_pandas().to_records(index=False),
    "records": lambda t: iter(t.to_pylist()),
    "batches of dicts": lambda t: [
        {name: t.slice(k, 250)[name].to_numpy() for name in NAMES} for k in range(0, 1000, 250)
    ],
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_every_table_in_memory_gives_the_same_statistics(kind: str, table: pa.Table) -> None:
    source = open_source(IN_MEMORY[kind](table))
    assert source.names == tuple(NAMES)
    assert scan(source) == wanted(table)


def test_a_duckdb_relation_is_a_source(table: pa.Table) -> None:
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register("measured", table)
    assert scan(open_source(connection.sql("select * from measured where true"))) == wanted(table)


ARRAYS = {
    "array": lambda x: x,
    "big-endian array": lambda x: x.astype(">f8"),
    "strided array": lambda x: np.repeat(x, 2, axis=0)[::2],
    "tensor": torch.from_numpy,
    "tensor with a gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "lists": lambda x: x.tolist(),
    "inputs and targets": lambda x: (x, x[:, 0]),
    "sparse": scipy.sparse.csr_array,
    "data set": lambda x: TensorDataset(torch.from_numpy(x), torch.zeros(len(x))),
    "loader": lambda x: DataLoader(
        TensorDataset(torch.from_numpy(x), torch.zeros(len(x))), batch_size=64, shuffle=True
    ),
    "loader of dicts": lambda x: DataLoader([{"x": row} for row in torch.from_numpy(x)], batch_size=100),
    "rows of numbers": lambda x: map(tuple, x.tolist()),
    "objects": lambda x: x.astype(object),
    "channels first": lambda x: torch.from_numpy(x).reshape(10, 10, 10, 3).permute(0, 3, 1, 2),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_every_array_gives_the_same_statistics(kind: str, table: pa.Table) -> None:
    x = matrix(table)
    source = open_source(ARRAYS[kind](x))
    assert source.names == ("x0", "x1", "x2")
    assert scan(source) == Columns.of(x)


def test_a_field_names_the_part_of_a_batch() -> None:
    batches = [
        {"image": torch.zeros(4, 2), "label": torch.ones(4, 1)},
        {"image": torch.ones(4, 2), "label": torch.ones(4, 1)},
    ]
    assert scan(open_source(batches, field="image"))["x1"].mean == 0.5
    assert scan(open_source([(torch.zeros(3, 2), torch.ones(3))], field=1))["x0"].mean == 1
    with pytest.raises(SourceError, match=r"which field holds the inputs.*'image', 'label'"):
        open_source(batches)
    with pytest.raises(SourceError, match="no field 'lable'"):
        open_source(batches, field="lable")


def test_a_masked_array_and_a_null_are_missing() -> None:
    masked = np.ma.masked_invalid(np.array([[1.0, np.nan], [2.0, 3.0]]))
    moments = scan(open_source(masked))["x1"]
    assert (moments.count, moments.nulls, moments.nans) == (1, 1, 0)
    frame = pd.DataFrame({"a": pd.array([1, None, 2**62 + 1], dtype="Int64")})
    assert scan(open_source(frame))["a"].maximum == 2**62 + 1


def test_images_give_one_column_per_channel(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(3)]
    for index, array in enumerate(pixels):
        (tmp_path / f"class{index % 2}").mkdir(exist_ok=True)
        image.fromarray(array).save(tmp_path / f"class{index % 2}" / f"{index}.png")
    source = open_source(tmp_path)
    assert source.names == ("red", "green", "blue")
    stacked = np.concatenate([array.reshape(-1, 3) for array in pixels])
    assert scan(source) == Columns.of(stacked, source.names)
    (tmp_path / "class0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    with pytest.raises(SourceError, match=r"broken\.png: cannot be read as an image"):
        scan(open_source(tmp_path))


def test_a_folder_a_glob_and_a_list_are_all_their_files_in_natural_order(table: pa.Table, tmp_path: Path) -> None:
    for index in (1, 2, 10):
        write(table.slice(100 * index, 100), tmp_path / f"part-{index}.parquet")
    (tmp_path / "_metadata").write_text("not a table")
    files = [tmp_path / f"part-{index}.parquet" for index in (1, 2, 10)]
    for source in (tmp_path, str(tmp_path / "*.parquet"), files):
        opened = open_source(source)
        assert [Path(state.path).name for state in opened.states] == [
            "part-1.parquet",
            "part-2.parquet",
            "part-10.parquet",
        ]
        assert opened.num_rows == 200 + len(table.slice(1000, 100))


def test_columns_are_chosen_by_name_pattern_and_position(table: pa.Table) -> None:
    wide = table.append_column("trip_miles", pa.array(np.arange(1000)))
    assert open_source(wide, columns=["c", "trip_*"]).names == ("c", "trip_miles")
    assert open_source(wide, columns="a").names == ("a",)
    assert open_source(wide, columns=[-1, 0]).names == ("trip_miles", "a")


def test_what_holds_no_numbers_is_left_out_with_the_reason() -> None:
    day = np.array(["2022-01-01", "2022-01-02"], dtype="M8[D]")
    source = open_source(pa.table({"x": [1.0, 2.0], "color": ["red", "blue"], "day": day, "pair": [[1], [2]]}))
    assert source.names == ("x",)
    assert source.left_out["color"] == "text"
    assert source.left_out["day"].startswith("a date or time")
    assert source.left_out["pair"].startswith("not a number")


def test_a_date_is_taken_when_it_is_named() -> None:
    day = pa.array(np.array(["2022-01-01", "2022-01-03"], dtype="M8[D]"))
    assert scan(open_source(pa.table({"day": day}), columns=["day"]))["day"].std() == 1.0


BAD = {
    "a path that does not exist": (lambda d: d / "tabel.csv", r"no such file or folder; did you mean 'table\.csv'"),
    "a folder that does not exist": (lambda d: d / "no" / "x.csv", "'.*no' does not exist"),
    "a glob without a match": (lambda d: d / "*.arrow", "no file matches"),
    "an address": (lambda _: "nonsense://bucket/x.parquet", "no filesystem opens it"),
    "an empty folder": (lambda d: d / "empty", "the folder holds no Parquet"),
    "an empty file": (lambda d: d / "empty.csv", r"the file is empty \(0 bytes\)"),
    "blank lines": (lambda d: d / "blank.csv", "the file is empty; a table with a header line"),
    "not Parquet": (lambda d: d / "not.parquet", r"cannot be read as \.parquet"),
    "a truncated array": (lambda d: d / "cut.npy", "cannot be read"),
    "an array of objects": (lambda d: d / "objects.npy", "holds Python objects"),
    "a binary CSV": (lambda d: d / "binary.csv", "the file is binary, not text"),
    "a JSON array": (lambda d: d / "array.json", "one object per line is wanted"),
    "text alone": (lambda d: d / "words.csv", "no column holds numbers: 'word' is text, such as 'red' in row 1"),
    "complex numbers": (lambda _: np.zeros(3, complex), "must be real numbers"),
    "a single number": (lambda _: np.float64(3), "single number"),
    "nothing we know": (lambda _: object(), "a table is wanted"),
    "an empty loader": (lambda _: iter([]), "yields no batch"),
    "three dimensions": (lambda _: np.zeros((2, 3, 4)), "which axis of shape"),
    "duplicate names": (lambda _: pa.table([[1], [2], [3]], names=["a", "b", "a"]), "'a' stands 2 times"),
    "duplicate names in pandas": (lambda _: pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' stands 2 times"),
    "columns of unequal length": (lambda _: {"a": [1.0], "b": [1.0, 2.0]}, "equally long.*'a' 1, 'b' 2"),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty").mkdir()
    (folder / "empty.csv").touch()
    (folder / "table.csv").write_text("a\n1\n")
    (folder / "blank.csv").write_text("\n\n\n")
    (folder / "not.parquet").write_text("PAR1 but no more")
    np.save(folder / "cut.npy", np.zeros(100))
    (folder / "cut.npy").write_bytes((folder / "cut.npy").read_bytes()[:300])
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "binary.csv").write_bytes(b"\x00\x01\x02")
    (folder / "array.json").write_text('[{"a": 1}]')
    (folder / "words.csv").write_text("word\nred\nblue\n")
    return folder


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_clear_line(kind: str, bad_files: Path) -> None:
    source, message = BAD[kind]
    with pytest.raises(SourceError, match=message) as caught:
        open_source(source(bad_files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["quality", "prise"], "no column 'prise'; did you mean 'price'"),
        (["Price"], "did you mean 'price'"),
        (["color"], "column 'color' must hold numbers, but it is text; leave it out"),
        ([7], "column 7 is asked for, but there are 3"),
        ([], r"columns=\[\] asks for no column"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_what_is_alike(columns: list[Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(pa.table({"price": [1.0], "quality": [1], "color": ["red"]}), columns=columns)


def test_a_column_missing_in_the_third_file_is_named_with_the_file(table: pa.Table, tmp_path: Path) -> None:
    for index in range(3):
        write(table if index < 2 else table.drop_columns("b"), tmp_path / f"part-{index}.parquet")
    with pytest.raises(SourceError, match=r"part-2\.parquet: no column 'b', which .*part-0\.parquet has"):
        open_source(tmp_path)
    assert open_source(tmp_path, columns=["a"]).num_rows == 3000


def test_integers_and_floats_in_different_files_add_up_exactly(tmp_path: Path) -> None:
    write(pa.table({"x": [2**60 + 1, 1]}), tmp_path / "0.parquet")
    write(pa.table({"x": [0.5]}), tmp_path / "1.parquet")
    moments = scan(open_source(tmp_path))["x"]
    assert moments.total == 2**60 + 2 + 0.5 or moments.total * 2 == 2 * (2**60 + 2) + 1
    assert moments.high == 2**60 + 1


def test_text_in_a_later_file_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    write(pa.table({"x": [1, 2]}), tmp_path / "0.csv")
    write(pa.table({"x": ["1", "many"]}), tmp_path / "1.csv")
    with pytest.raises(
        SourceError, match=r"1\.csv: column 'x' is text, such as 'many' in row 2, but int64 in .*0\.csv"
    ):
        open_source(tmp_path)


def test_an_extra_column_in_a_later_file_is_left_out_and_named(tmp_path: Path) -> None:
    write(pa.table({"x": [1]}), tmp_path / "0.csv")
    write(pa.table({"x": [1], "y": [2]}), tmp_path / "1.csv")
    assert open_source(tmp_path).left_out == {"y": f"only in {tmp_path / '1.csv'}"}


def test_a_corrupt_parquet_page_is_an_error_that_names_the_row_group(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    values = np.random.default_rng(0).normal(size=20_000)
    pq.write_table(pa.table({"x": values}), path, row_group_size=10_000, write_page_checksum=True, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"x\.parquet, row group 0: cannot be read.*damaged"):
        scan(open_source(path))


def test_the_same_blocks_come_after_a_skip(table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("source", "parquet", "ipc", "arrays", "archives"):
        module = __import__(f"onesigma.inputs.sources.{name}", fromlist=["rows_per_block"])
        if hasattr(module, "rows_per_block"):
            monkeypatch.setattr(module, "rows_per_block", lambda _: 64)
    for suffix in (".parquet", ".arrow", ".npz"):
        shard = open_source(write(table, tmp_path / f"t{suffix}")).shards[0]
        blocks = list(shard.blocks())
        assert len(blocks) > 3
        assert [block.num_rows for block in shard.blocks(2)] == [block.num_rows for block in blocks[2:]]
        assert all(left.equals(right) for left, right in zip(blocks[2:], shard.blocks(2), strict=True))


def test_shards_of_files_travel_to_other_processes(table: pa.Table, tmp_path: Path) -> None:
    for suffix in (".parquet", ".csv", ".arrow", ".npz", ".jsonl"):
        source = open_source(write(table, tmp_path / f"t{suffix}"))
        statistic, shards = pickle.loads(pickle.dumps((columns_of(source), source.shards)))
        parts = (statistic.of(block) for shard in shards for block in shard.blocks())
        assert reduce(statistic.merge, parts, statistic.zero) == wanted(table)


def test_lists_with_none_and_halves_of_halves_are_tables() -> None:
    assert scan(open_source([[1, None], [2, 3]]))["x1"].nulls == 1
    assert scan(open_source(torch.ones(4, 2).to(torch.float8_e4m3fn)))["x1"].mean == 1
    assert scan(open_source(torch.ones(4, 2, dtype=torch.bfloat16)))["x1"].mean == 1


def test_one_iterator_is_not_read_twice() -> None:
    source = open_source(iter([np.ones((2, 1))]))
    scan(source)
    with pytest.raises(SourceError, match="gives its batches once"):
        scan(source)


def columns_by_hand(source: Source) -> Columns:
    parts = (Columns.of(block, source.names) for block in source.blocks())
    return reduce(Columns.merge, parts, Columns.zero(source.names))


@pytest.mark.parametrize(
    "name", ["int32_decimal", "int64_decimal", "float16_nonzeros_and_nans", "single_nan", "nan_in_stats"]
)
def test_parquet_files_of_other_writers_are_read(name: str) -> None:
    path = DATA / "parquet-edge-cases" / f"{name}.parquet"
    if not path.exists():
        pytest.skip("the folder of shared data is not here")
    source = open_source(path)
    expected = Columns.of(pq.read_table(path))
    assert columns_by_hand(source) == scan(source) == expected


class TestLoadTable:
    """`load_table` reads inputs and target whole."""

    def test_inputs_are_all_columns_but_the_target(self, tmp_path: Path) -> None:
        (tmp_path / "wine.csv").write_text("pH;quality;alcohol\n3.5;5;9.4\n3.2;6;9.8\n")
        names, x, y = load_table(tmp_path / "wine.csv", target="quality")
        assert names == ("pH", "alcohol")
        assert x.tolist() == [[3.5, 9.4], [3.2, 9.8]]
        assert y is not None
        assert (y.dtype, y.tolist()) == (np.int64, [5, 6])

    def test_a_text_target_stays_text(self) -> None:
        _, _, y = load_table({"x": [1.0, 2.0], "kind": ["b", "a"]}, target="kind")
        assert y is not None
        assert y.tolist() == ["b", "a"]

    @pytest.mark.parametrize(
        ("table", "target", "message"),
        [
            ({"pH": [1.0], "quality": [1]}, "qualty", "no column 'qualty' for the target; did you mean 'quality'"),
            ({"pH": [1.0], "color": ["red"], "y": [1]}, "y", "column 'color' holds no numbers"),
            (
                {"pH": [1.0, None, float("nan")], "y": [1, 2, 3]},
                "y",
                r"2 of 3 rows have missing.*'pH' 2; first in row 2",
            ),
            ({"pH": [1.0, 2.0], "y": [1, None]}, "y", "1 values of the target are missing"),
            ({"y": [1, 2]}, "y", "no column is left beside the target"),
            (pa.table({"pH": pa.array([], pa.float64()), "y": pa.array([], pa.int64())}), "y", "but no rows"),
        ],
    )
    def test_bad_tables_are_refused(self, table: Any, target: str, message: str) -> None:
        with pytest.raises(SourceError, match=message):
            load_table(table, target=target)
