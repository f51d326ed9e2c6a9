"""A scaler maps Arrow tables to Arrow tables: what `map_batches` and `mapInArrow` of an engine hand in."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesigma._errors import SourceError
from onesigma.inputs import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from onesigma.inputs.scalers import ColumnScaler

ALL = [StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler]
MILES = [100.0, 100_000.0, 2_500.0, 0.1]
YEARS = [1990, 2024, 2001, 2010]


def trips() -> pa.Table:
    return pa.table({"city": ["Ulm", "Bonn", "Köln", None], "miles": MILES, "years": YEARS})


def fitted(kind: type[ColumnScaler] = StandardScaler) -> ColumnScaler:
    return kind().fit(pd.DataFrame({"years": YEARS, "miles": MILES}))


@pytest.mark.parametrize("kind", ALL)
def test_a_table_comes_back_as_a_table_with_the_bits_of_the_array(kind: type[ColumnScaler]) -> None:
    scaler = fitted(kind)
    mapped = scaler.transform(trips())
    assert isinstance(mapped, pa.Table)
    assert mapped.column_names == ["city", "miles", "years"]
    assert mapped["city"].equals(trips()["city"])
    array = scaler.transform(pd.DataFrame({"years": YEARS, "miles": MILES}))
    np.testing.assert_array_equal(np.column_stack([mapped["years"], mapped["miles"]]), array)


@pytest.mark.parametrize("kind", ALL)
def test_the_inverse_takes_tables_too(kind: type[ColumnScaler]) -> None:
    scaler = fitted(kind)
    back = scaler.inverse_transform(scaler.transform(trips()))
    np.testing.assert_allclose(back["miles"], MILES, rtol=1e-12, atol=1e-9)


@given(cut=st.integers(0, 4))
def test_batches_cut_anywhere_give_the_rows_of_the_table(cut: int) -> None:
    scaler, whole = fitted(), trips()
    parts = [scaler.transform(batch) for part in (whole[:cut], whole[cut:]) for batch in part.to_batches()]
    assert all(isinstance(part, pa.RecordBatch) for part in parts)
    assert pa.Table.from_batches(parts).equals(scaler.transform(whole))


def test_a_null_stays_null_and_a_nan_stays_nan() -> None:
    table = pa.table({"miles": pa.array([1.0, None, float("nan")]), "years": pa.array([None, 2000, 2001])})
    mapped = fitted().transform(table)
    assert mapped["miles"].is_null().to_pylist() == [False, True, False]
    assert mapped["years"].is_null().to_pylist() == [True, False, False]
    assert np.isnan(mapped["miles"][2].as_py())


def test_single_precision_stays_single() -> None:
    narrow = pa.table({name: pa.array([1, 2], pa.float32()) for name in ("miles", "years")})
    assert set(fitted().transform(narrow).schema.types) == {pa.float32()}


def test_a_scaler_of_an_array_takes_columns_by_place() -> None:
    table = trips().select(["miles", "years"])
    scaler = StandardScaler().fit(np.column_stack([MILES, YEARS]))
    np.testing.assert_array_equal(scaler.transform(table)["years"], scaler.transform(table.to_pandas().values)[:, 1])


def test_set_output_has_the_last_word() -> None:
    table = trips().select(["years", "miles"])
    frame = fitted().set_output(transform="pandas").transform(table)
    assert isinstance(frame, pd.DataFrame)


def test_a_table_without_rows_keeps_its_columns() -> None:
    assert fitted().transform(trips()[:0]).column_names == ["city", "miles", "years"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"miles": [1.0]}, r"no column 'years', which was fitted"),
        ({"miles": ["far"], "years": [1]}, r"column 'miles' must hold numbers, as when fitted; got string"),
        ({"miles": [float("inf")], "years": [1]}, "infinity"),
    ],
)
def test_a_table_that_does_not_fit_says_why(table: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted().transform(pa.table(table))


def test_two_columns_of_one_name_are_refused() -> None:
    arrays = [pa.array([1.0]), pa.array([2.0]), pa.array([3.0]), pa.array([4.0])]
    table = pa.Table.from_arrays(arrays, names=["miles", "years", "other", "other"])
    with pytest.raises(SourceError, match="two columns are called 'other'"):
        fitted().transform(table)
