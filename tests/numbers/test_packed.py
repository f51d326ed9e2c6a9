"""Moments packed from digits and merged as bytes are, byte for byte, those that rationals give."""

import pickle
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesigma._errors import ScalerFileError, SourceError
from onesigma.numbers.columns import Columns
from onesigma.numbers.moments import Moments
from onesigma.numbers.packed import merged_records, table_bytes
from onesigma.workflows.parts import Parcel, join
from tests.engines.cases import hostile_table

ANY_DOUBLES = st.lists(st.floats(allow_subnormal=True), max_size=9)


def hostile() -> pa.Table:
    table, rng = hostile_table(600), np.random.default_rng(1)
    table = table.append_column("unsigned", pa.array(rng.integers(0, 2**64 - 1, 600, dtype=np.uint64)))
    return table.append_column("half", pa.array(rng.normal(size=600).astype(np.float16)))


def by_rationals(columns: Columns) -> bytes:
    return table_bytes(list(map(str.encode, columns)), [moments.to_bytes() for moments in columns.values()])


def test_digits_and_rationals_pack_to_the_same_bytes() -> None:
    table = hostile()
    for part in (table, table[:0], table[:1], table[7:8]):
        assert Columns.of(part).to_bytes() == by_rationals(Columns.of(part))


@pytest.mark.parametrize("cuts", [[0, 600], [0, 0, 3, 3, 500, 600, 600], list(range(0, 601, 20))])
def test_merged_bytes_of_any_cut_are_those_of_the_whole(cuts: list[int]) -> None:
    table = hostile()
    whole = Columns.of(table)
    parts = [Columns.of(table[start:stop]) for start, stop in pairwise(cuts)]
    packed = [part.to_bytes() for part in parts]
    assert Columns.merged_bytes(packed) == Columns.merged_bytes(packed[::-1]) == whole.to_bytes()
    assert Columns.merged_bytes([Columns.zero(whole).to_bytes(), *packed]) == whole.to_bytes()
    assert reduce(Columns.merge, parts).to_bytes() == by_rationals(whole)


@given(st.lists(ANY_DOUBLES, min_size=1, max_size=5))
def test_merged_records_are_the_record_of_all_values(parts: list[list[float]]) -> None:
    every = np.array([value for part in parts for value in part])
    assert merged_records([Moments.of(np.array(part)).to_bytes() for part in parts]) == Moments.of(every).to_bytes()


def test_weighted_and_decimal_records_go_the_long_way_to_the_same_bytes() -> None:
    left, right = (Moments.of([1.0, 0.1], weights=[0.3, weight]) for weight in (1e-300, 2.0))
    assert merged_records([left.to_bytes(), right.to_bytes()]) == (left + right).to_bytes()
    whole = Moments.of([1.0, 2.0, 3.0])
    rest = whole.unmerge(Moments.of([1.0]))  # its minimum is not known
    assert rest.low is None
    assert merged_records([rest.to_bytes(), whole.to_bytes()]) == (rest + whole).to_bytes()


def test_damaged_records_and_records_of_other_kinds_are_refused() -> None:
    record, day = Moments.of([1.0, 2.5]).to_bytes(), Moments.of(pa.array([1, 2]).cast(pa.int32()).cast(pa.date32()))
    with pytest.raises(SourceError, match="do not add up"):
        merged_records([record, day.to_bytes()])
    for cut in range(1, len(record)):
        with pytest.raises(ScalerFileError):
            merged_records([record, record[:cut]])
    with pytest.raises(ScalerFileError):
        merged_records([record, record + b"\x00"])
    with pytest.raises(SourceError, match="the columns differ"):
        Columns.merged_bytes([Columns.of({name: [1.0]}).to_bytes() for name in "ab"])


def test_tables_whose_columns_stand_in_another_order_merge_by_name() -> None:
    one, two = Columns.of({"a": [1.0], "b": [2.0]}), Columns.of({"b": [3.0], "a": [4.0]})
    assert Columns.merged_bytes([one.to_bytes(), two.to_bytes()]) == (one + two).to_bytes()


def test_a_thousand_parcels_that_travelled_merge_to_the_bytes_of_one() -> None:
    values = np.random.default_rng(0).normal(1e8, 1.0, (1200, 2))
    sent = [pickle.loads(pickle.dumps(Parcel(Columns.of(values[row : row + 1])))) for row in range(1200)]
    here = Parcel(Columns.of(values[:1]))
    merged = reduce(join, [here, *sent[1:]])
    assert merged is not None
    assert pickle.loads(pickle.dumps(merged)).state.to_bytes() == merged.state.to_bytes()
    assert merged.state.to_bytes() == Columns.of(values).to_bytes()
