import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onesigma._errors import ScalerFileError, SourceError
from onesigma.numbers.columns import Columns
from onesigma.numbers.moments import Moments

TABLE = np.random.default_rng(0).normal(size=(1000, 4))
NAMES = ["x0", "x1", "x2", "x3"]
MIXED = {
    "float": pa.array([1.5, None, float("nan")], pa.float32()),
    "double": pa.array([1.5, 2.5, None]),
    "integer": pa.array([2**62, None, 1]),
    "small": pa.array([1, 2, 3], pa.int16()),
    "flag": pa.array([True, False, None]),
    "price": pa.array([Decimal("1.25"), Decimal("-3.50"), None]),
    "when": pa.array([1, 2, None], pa.timestamp("us")),
    "empty": pa.array([None, None, None]),
}


def columns_of_moments(table: np.ndarray) -> Columns:
    return Columns(
        {name: Moments.of(np.ascontiguousarray(column)) for name, column in zip(NAMES, table.T, strict=True)}
    )


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        np.asfortranarray(TABLE),
        np.repeat(TABLE, 2, axis=1)[:, ::2],
        torch.from_numpy(TABLE),
        torch.from_numpy(TABLE).requires_grad_(),
        dict(zip(NAMES, TABLE.T, strict=True)),
        pa.table(dict(zip(NAMES, TABLE.T, strict=True))),
        pa.RecordBatch.from_arrays(list(map(pa.array, TABLE.T)), NAMES),
        pl.DataFrame(TABLE, schema=NAMES),
        pd.DataFrame(TABLE, columns=NAMES),
    ],
    ids=lambda table: type(table).__module__ + type(table).__name__,
)
def test_every_holder_of_a_table_gives_the_same_bytes(table: object) -> None:
    assert Columns.of(table).to_bytes() == columns_of_moments(TABLE).to_bytes()


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 1000), max_size=5))
def test_fifty_shuffles_and_splits_give_one_result(random: object, cuts: list[int]) -> None:
    rows = list(range(1000))
    random.shuffle(rows)  # type: ignore[attr-defined]
    parts = np.split(TABLE[rows], sorted(cuts))
    merged = sum(map(Columns.of, parts), Columns.zero(NAMES))
    assert merged.fingerprint == Columns.of(TABLE).fingerprint


def test_a_table_of_many_types_equals_its_columns_one_by_one() -> None:
    columns = Columns.of(pa.table(MIXED))
    for name, column in MIXED.items():
        assert columns[name] == Moments.of(column)
    twice = columns + columns
    for name, column in MIXED.items():
        assert twice[name] == Moments.of(column) + Moments.of(column)


def test_zero_is_neutral_on_both_sides() -> None:
    columns, zero = Columns.of(pa.table(MIXED)), Columns.zero(MIXED)
    assert zero + columns == columns == columns + zero


def test_batches_of_other_types_merge_exactly() -> None:
    both = Columns.of({"x": np.array([1, 2])}) + Columns.of({"x": np.array([0.5], np.float32)})
    assert both["x"] == Moments.of([1.0, 2.0, 0.5])


def test_columns_are_matched_by_name_and_the_left_order_stays() -> None:
    left, right = Columns.of({"a": [1], "b": [2]}), Columns.of({"b": [4], "a": [3]})
    both = left + right
    assert list(both) == ["a", "b"]
    assert (both["a"].mean, both["b"].mean) == (2.0, 3.0)


def test_unmerge_takes_back_a_fold() -> None:
    folds = [Columns.of(fold) for fold in np.split(TABLE, 5)]
    whole = sum(folds, Columns.zero(NAMES))
    rest = whole - folds[0]
    direct = Columns.of(TABLE[200:])
    assert all((rest[name].mean, rest[name].std()) == (direct[name].mean, direct[name].std()) for name in NAMES)


def test_select_keeps_what_is_named() -> None:
    columns = Columns.of(TABLE)
    assert list(columns.select(["x2", "x0"])) == ["x2", "x0"]
    assert columns.select(["x2"])["x2"] == columns["x2"]
    assert (columns.select(["x2"]) + columns.select(["x2"]))["x2"] == columns["x2"] + columns["x2"]
    assert Columns.of(pa.table(MIXED), ["small"])["small"].mean == 2.0


def test_bytes_and_pickle_round_trip() -> None:
    columns = Columns.of(pa.table(MIXED))
    assert Columns.from_bytes(columns.to_bytes()) == columns
    assert pickle.loads(pickle.dumps(columns)) == columns
    for cut in range(len(columns.to_bytes())):
        with pytest.raises(ScalerFileError):
            Columns.from_bytes(columns.to_bytes()[:cut])


def test_row_weights_apply_to_every_column() -> None:
    weights = np.arange(1000) % 3
    assert Columns.of(TABLE, weights=weights) == Columns.of(np.repeat(TABLE, weights, axis=0))


def test_half_precision_and_bfloat16_tensors_are_exact() -> None:
    tensor = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float16, torch.bfloat16):
        assert Columns.of(tensor.to(dtype)) == Columns.of(tensor.to(dtype).double().numpy())


@pytest.mark.parametrize(
    ("table", "names", "said"),
    [
        (np.ones(3), None, "shape"),
        (np.ones((3, 2)), ["a"], "2 names"),
        (np.ones((3, 2)), ["a", "a"], "twice"),
        ({"a": [1]}, ["b"], "not there"),
        ({"a": ["text"]}, None, "'a'"),
        (pa.table([[1], [2]], ["a", "a"]), None, "twice"),
        (3.0, None, "table"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(table: object, names: list[str] | None, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        Columns.of(table, names)


def test_tables_of_other_columns_refuse_to_merge() -> None:
    with pytest.raises(SourceError, match=r"missing: \['b'\]"):
        Columns.of({"a": [1], "b": [1]}).merge(Columns.of({"a": [1]}))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "int64", "uint64", "uint8", "bool"])
@pytest.mark.parametrize("held", ["array", "batch"])
def test_columns_of_a_wide_table_are_those_of_each_column_alone(dtype: str, held: str) -> None:
    columns, rows = 1100, 70  # beyond two tiles of columns, beyond two blocks of rows that are scanned ahead
    values = np.random.default_rng(0).normal(0.0, 60.0, (rows, columns)).clip(0 if dtype[0] in "ub" else -99, 99)
    table = values.astype(dtype)
    names = [f"x{index}" for index in range(columns)]
    parts = [np.ascontiguousarray(column) for column in table.T]
    found = Columns.of(table if held == "array" else pa.RecordBatch.from_arrays(list(map(pa.array, parts)), names))
    assert all(found[name] == Moments.of(part) for name, part in zip(names, parts, strict=True))
    halves = [Columns.of(part) for part in (table[:33], table[33:])]
    assert (Columns.zero(names) + halves[0] + halves[1]).to_bytes() == found.to_bytes()
