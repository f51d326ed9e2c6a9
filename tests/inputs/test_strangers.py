"""What strangers bring: wide integers, run lengths, wider batches, partitioned folders, sparse tensors."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch

import onesigma
from onesigma._errors import OnesigmaWarning, SourceError
from onesigma.inputs import StandardScaler
from onesigma.inputs.apply import apply
from onesigma.inputs.scan import scan
from onesigma.inputs.sources import open_source

WIDE = [2**62 + step for step in range(-5, 6)]
"""float64 makes one number of them all."""


def wide_table() -> pa.Table:
    times = pa.array(WIDE).cast(pa.timestamp("ns", tz="UTC"))
    beyond = pa.array([2**63 + step for step in range(-5, 6)], pa.uint64())
    coded = pa.array([*WIDE[:-1], None]).dictionary_encode()
    return pa.table(
        {"id": WIDE, "time": times, "beyond": beyond, "coded": coded, "small": pa.array(range(11), pa.int8())}
    )


def exact(values: list[int]) -> list[float]:
    mean = Fraction(sum(values), len(values))
    std = float(sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return [float(value - mean) / std for value in values]


def test_integers_that_float64_does_not_hold_are_shifted_as_integers_in_tables_too(tmp_path: Path) -> None:
    table = wide_table()
    scaler = onesigma.standardize(table, columns=["id", "time", "beyond", "coded", "small"])
    mapped = scaler.transform(table)
    for name in ("id", "time", "beyond"):
        np.testing.assert_allclose(mapped[name].to_numpy(), exact(WIDE), rtol=4e-16, atol=1e-15)
    assert mapped["coded"].null_count == 1
    np.testing.assert_allclose(mapped["coded"].drop_null().to_numpy(), exact(WIDE[:-1]), rtol=4e-16, atol=1e-15)
    pq.write_table(table, tmp_path / "raw.parquet")
    apply(scaler, tmp_path / "raw.parquet", to=tmp_path / "scaled.parquet")
    assert pq.read_table(tmp_path / "scaled.parquet").equals(mapped)


def test_a_layer_shifts_wide_integers_with_the_bits_of_the_scaler() -> None:
    column = np.array(WIDE)[:, None]
    scaler = StandardScaler().fit(column)
    layer = scaler.to_module()
    expected = scaler.transform(column)
    torch.testing.assert_close(layer(torch.tensor(column)), torch.tensor(expected).float(), rtol=0, atol=0)


def test_run_lengths_and_their_plain_values_have_the_same_bits() -> None:
    plain = pa.table({"x": [1.5, 1.5, None, 4.0]})
    runs = pa.table({"x": pc.run_end_encode(plain["x"].combine_chunks())})
    assert scan(open_source(runs)).to_bytes() == scan(open_source(plain)).to_bytes()
    scaler = onesigma.standardize(plain)
    assert scaler.transform(runs).equals(scaler.transform(plain))


def test_decimals_beyond_38_digits_are_named() -> None:
    table = pa.table({"d": pa.array([Decimal("1" * 50)], pa.decimal256(60, 2))})
    with pytest.raises(SourceError, match=r"column 'd' holds decimals of more than 38 digits"):
        onesigma.standardize(table)


def test_a_batch_wider_than_the_first_is_refused() -> None:
    with pytest.raises(SourceError, match=r"batch 1: has 3 columns, the first batch has 2"):
        onesigma.standardize(np.ones((2, 2 + step)) for step in range(2))


def test_a_named_batch_may_bring_more_columns() -> None:
    scaler = onesigma.standardize(pa.table({"a": [1.0], **({"b": [1.0]} if step else {})}) for step in range(2))
    assert list(scaler.columns_) == ["a"]


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_not_the_folder_one_is_in(path: str) -> None:
    with pytest.raises(SourceError, match="an empty path"):
        onesigma.standardize(path)


@pytest.mark.parametrize("source", ["{}", "{}/*/*.parquet"])
def test_what_only_folders_say_is_left_out_aloud(tmp_path: Path, source: str) -> None:
    lake = tmp_path / "run=7" / "lake"
    for year in (2020, 2021):
        (lake / f"year={year}").mkdir(parents=True)
        pq.write_table(pa.table({"x": [float(year)]}), lake / f"year={year}" / "part.parquet")
    with pytest.warns(OnesigmaWarning, match=r"'year' is in the names of folders alone \(year=202") as told:
        scaler = onesigma.standardize(source.format(lake))
    assert scaler.mean_.tolist() == [2020.5]
    assert "run" not in str(told[0].message).partition("left out")[2]


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_sparse_tensor_is_the_matrix_that_it_stands_for(layout: str) -> None:
    dense = torch.eye(5)[torch.arange(9000) % 5]
    sparse = getattr(dense, layout)()
    assert scan(open_source(sparse)).to_bytes() == scan(open_source(dense)).to_bytes()


def test_a_sparse_matrix_is_dense_a_block_at_a_time() -> None:
    matrix = scipy.sparse.random_array((100_000, 3), density=0.01, rng=0).tocsr()
    rows = [block.shape[0] for block in blocks_of(matrix)]
    assert sum(rows) == 100_000
    assert max(rows) <= 4096


def blocks_of(matrix: scipy.sparse.csr_array) -> Iterator[np.ndarray]:
    return open_source(matrix).blocks()  # type: ignore[return-value]


def test_a_dict_of_columns_comes_back_as_a_table() -> None:
    columns = {"miles": [100.0, 100_000.0], "city": ["Ulm", "Bonn"]}
    scaler = onesigma.standardize({"miles": columns["miles"]})
    mapped = scaler.transform(columns)
    assert mapped.to_pydict() == {"miles": [-1.0, 1.0], "city": ["Ulm", "Bonn"]}
    assert scaler.inverse_transform(mapped)["miles"].to_pylist() == columns["miles"]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([2**64 - 1, 0, 0], np.uint64),
        ([2**63 - 1, -(2**63), -(2**63)], np.int64),
        ([2**64 - 1, 2**64 - 3], np.uint64),
        ([2**63 - 1, 2**63 - 5], np.int64),
    ],
)
def test_differences_that_fit_no_int64_do_not_wrap_around(values: list[int], dtype: type[np.generic]) -> None:
    column = np.array(values, dtype)[:, None]
    scaler = StandardScaler().fit(column)
    np.testing.assert_allclose(scaler.transform(column).ravel(), exact(values), rtol=4e-16)
    if dtype is np.int64:
        layer = scaler.to_module()(torch.tensor(column))
        torch.testing.assert_close(layer, torch.tensor(exact(values), dtype=torch.float32)[:, None])
