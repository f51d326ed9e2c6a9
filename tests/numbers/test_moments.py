import math
import pickle
import statistics
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onesigma._errors import ScalerFileError, SourceError
from onesigma.numbers.moments import Moments

anything = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
columns = st.lists(anything, max_size=40)
law = settings(max_examples=100, deadline=None)


def by_fractions(values: list[float]) -> tuple[int, Fraction, Fraction]:
    exact = [Fraction(value) for value in values if math.isfinite(value)]
    return len(exact), sum(exact, Fraction(0)), sum((value * value for value in exact), Fraction(0))


@law
@given(columns)
def test_sums_are_those_of_rational_arithmetic(values: list[float]) -> None:
    moments = Moments.of(np.array(values))
    assert (moments.count, moments.total, moments.squares) == by_fractions(values)
    assert moments.nans == sum(map(math.isnan, values))
    assert (moments.pos_infs, moments.neg_infs) == (values.count(math.inf), values.count(-math.inf))
    finite = [value for value in values if math.isfinite(value)]
    assert (moments.minimum, moments.maximum) == (min(finite, default=None), max(finite, default=None))


@law
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30))
def test_mean_and_std_equal_the_statistics_module(values: list[float]) -> None:
    moments = Moments.of(values)
    assert moments.mean == statistics.mean(values)
    assert moments.mean_fraction == statistics.mean(map(Fraction, values))
    assert moments.variance_fraction(1) == statistics.variance(map(Fraction, values))
    assert moments.std() == statistics.pstdev(map(Fraction, values))
    assert moments.std(correction=1) == statistics.stdev(map(Fraction, values))


@law
@given(columns, st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_order_and_split_gives_the_same_bytes(values: list[float], random: object, parts: int) -> None:
    whole = Moments.of(np.array(values))
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    pieces = [Moments.of(np.array(shuffled[i::parts])) for i in range(parts)]
    random.shuffle(pieces)  # type: ignore[attr-defined]
    merged = sum(pieces, Moments.zero())
    assert merged == whole
    assert merged.to_bytes() == whole.to_bytes()
    assert merged.fingerprint == whole.fingerprint


@law
@given(columns, columns, columns)
def test_merge_is_a_commutative_monoid(a: list[float], b: list[float], c: list[float]) -> None:
    x, y, z = (Moments.of(np.array(part)) for part in (a, b, c))
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert x + Moments.zero() == x == Moments.zero() + x


@law
@given(columns, columns)
def test_unmerge_takes_back_what_merge_added(a: list[float], b: list[float]) -> None:
    x, y = Moments.of(np.array(a)), Moments.of(np.array(b))
    rest = (x + y) - y
    assert (rest.count, rest.nans, rest.total, rest.squares) == (x.count, x.nans, x.total, x.squares)
    assert rest.low in (x.low, None)
    assert rest.high in (x.high, None)


@law
@given(columns)
def test_bytes_and_json_round_trip(values: list[float]) -> None:
    moments = Moments.of(np.array(values))
    assert Moments.from_bytes(moments.to_bytes()) == moments
    assert Moments.from_json(moments.to_json()) == moments
    assert pickle.loads(pickle.dumps(moments)) == moments


@law
@given(st.lists(st.tuples(anything, st.integers(0, 5)), max_size=20))
def test_integer_weights_count_a_value_that_often(rows: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in rows])
    weights = np.array([weight for _, weight in rows], dtype=np.int64)
    assert Moments.of(values, weights=weights) == Moments.of(np.repeat(values, weights))


@law
@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e300)), max_size=20))
def test_float_weights_are_exact(rows: list[tuple[float, float]]) -> None:
    moments = Moments.of([value for value, _ in rows], weights=[float(weight) for _, weight in rows])
    exact = [(Fraction(value), Fraction(weight)) for value, weight in rows]
    assert moments.count == sum(weight > 0 for _, weight in rows)
    assert moments.weight == sum(w for _, w in exact)
    assert moments.total == sum(w * x for x, w in exact)
    assert moments.squares == sum(w * x * x for x, w in exact)


@pytest.mark.parametrize(
    "dtype", [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
@law
@given(data=st.data())
def test_integers_never_pass_through_a_double(dtype: type, data: st.DataObject) -> None:
    array = data.draw(hnp.arrays(dtype, st.integers(1, 20)))
    exact = [int(value) for value in array]
    for values in (array, pa.array(array), torch.from_numpy(array)):
        moments = Moments.of(values)
        assert (moments.total, moments.squares) == (sum(exact), sum(value * value for value in exact))
        assert (moments.minimum, moments.maximum) == (min(exact), max(exact))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_every_narrow_float_is_taken_as_it_is(dtype: type) -> None:
    bits = np.arange(2**16 if np.dtype(dtype).itemsize > 1 else 2**8).astype(f"u{min(np.dtype(dtype).itemsize, 2)}")
    values = (bits.astype(np.uint32) << 16).view(np.float32) if dtype is np.float32 else bits.view(dtype)
    moments = Moments.of(values)
    with np.errstate(invalid="ignore"):  # signaling NaNs
        doubles = values.astype(np.float64).tolist()
    assert (moments.count, moments.total, moments.squares) == by_fractions(doubles)
    assert moments.nans == sum(map(math.isnan, doubles))


def test_bfloat16_tensors_are_taken_as_they_are() -> None:
    tensor = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    assert Moments.of(tensor) == Moments.of(tensor.double().numpy())


def test_integers_and_floats_merge_exactly() -> None:
    both = Moments.of(np.array([2**63 - 1])) + Moments.of(np.array([0.5]))
    assert both.total == Fraction(2**64 - 1, 2)
    assert (both.minimum, both.maximum) == (0.5, 2**63 - 1)


def test_negative_zero_is_zero() -> None:
    assert Moments.of([-0.0]).to_bytes() == Moments.of([0.0]).to_bytes()
    assert math.copysign(1, Moments.of(np.array([-0.0, 0.0])).minimum) == 1


def test_nothing_has_no_mean_variance_or_bounds() -> None:
    for empty in (Moments.zero(), Moments.of([]), Moments.of(np.empty(0)), Moments.of([math.nan, None, math.inf])):
        assert math.isnan(empty.mean)
        assert math.isnan(empty.variance())
        assert math.isnan(empty.std())
        assert empty.mean_fraction is None
        assert empty.variance_fraction() is None
        assert empty.minimum is None
        assert not empty.is_constant


def test_one_value_has_variance_zero_and_none_with_correction_one() -> None:
    one = Moments.of([3.5])
    assert one.variance() == 0.0
    assert math.isnan(one.variance(correction=1))
    assert one.is_constant


@pytest.mark.parametrize("constant", [14.62, 0.1, 1e300, 5e-324, -1e-200, 0.0])
def test_a_constant_column_has_variance_exactly_zero(constant: float) -> None:
    moments = Moments.of(np.full(20_000, constant))
    assert moments.is_constant
    assert moments.variance() == 0.0
    assert moments.mean == constant


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-310, 2e307, 1.0])
@pytest.mark.parametrize("shift", [0.0, 1e8, 1e12, 1e15])
def test_mean_and_std_are_correctly_rounded_at_any_scale(scale: float, shift: float) -> None:
    values = (np.random.default_rng(0).normal(size=2000) + shift) * (scale if shift == 0 else 1.0)
    moments = Moments.of(values)
    exact = [Fraction(value) for value in values.tolist()]
    assert moments.mean == float(sum(exact) / len(exact))
    assert moments.std() == statistics.pstdev(exact)
    assert moments.std(correction=1) == statistics.stdev(exact)


def test_sums_that_cancel_to_almost_nothing_are_exact() -> None:
    assert Moments.of(np.array([1e16, 1.0, -1e16, 1.0] * 5000)).mean == 0.5


def test_mean_parts_hold_the_mean_to_twice_the_digits() -> None:
    moments = Moments.of([1.0, 1.0, 2.0])
    high, low = moments.mean_parts
    assert high == moments.mean
    assert abs(Fraction(high) + Fraction(low) - Fraction(4, 3)) < Fraction(4, 3) / 2**105


def test_an_ordinary_column_takes_under_200_bytes() -> None:
    assert len(Moments.of(np.random.default_rng(0).normal(size=100_000)).to_bytes()) < 200


def test_decimals_stay_exact_beyond_64_bits() -> None:
    values = [Decimal("0.1"), None, Decimal("-123456789012345678901234567890.12")]
    for column in (values, pa.array(values), pa.array(values, pa.decimal256(50, 2))):
        moments = Moments.of(column)
        assert moments.total == sum(Fraction(value) for value in values if value is not None)
        assert moments.nulls == 1
        assert moments.minimum == values[2]
        assert moments.kind == "decimal(2)"


def test_decimals_of_two_scales_merge() -> None:
    both = Moments.of([Decimal("0.25")]) + Moments.of([Decimal("0.5")])
    assert both.kind == "decimal(2)"
    assert both.mean_fraction == Fraction(3, 8)


@pytest.mark.parametrize(
    ("column", "kind", "mean"),
    [
        (np.array(["2020-01-01", "2020-01-03"], dtype="M8[D]"), "date", 18263),
        (pa.array([date(2020, 1, 1), date(2020, 1, 3)]), "date", 18263),
        (pa.array([date(2020, 1, 1), date(2020, 1, 3)], pa.date64()), "date", 18263),
        (np.array(["2020-01-01", "NaT"], dtype="M8[ns]"), "timestamp[ns]", 1577836800 * 10**9),
        (pa.array([datetime(2020, 1, 1)], pa.timestamp("us", "UTC")), "timestamp[us, UTC]", 1577836800 * 10**6),
        (pa.array([timedelta(seconds=2)], pa.duration("ms")), "duration[ms]", 2000),
        (np.array([1, 2, 3], dtype="m8[s]"), "duration[s]", 2),
        (pa.array([1, 3], pa.time32("s")), "time[s]", 2),
        (np.array([True, False]), "bool", 0.5),
        (pa.array([True, None, False]), "bool", 0.5),
        (pa.array([1.5, 2.5], pa.float16()), "number", 2.0),
        (pa.array([1, 1, 4]).dictionary_encode(), "number", 2.0),
        (pa.chunked_array([[1], [3, None]]), "number", 2.0),
        (pa.array([None, None]), "any", math.nan),
        (np.ma.masked_array([1.0, 99.0, 3.0], mask=[False, True, False]), "number", 2.0),
        ([Fraction(1, 2), 1, 2.5, None], "number", 4 / 3),
        ([2**70, -(2**70), 3], "number", 1.0),
        (np.array([1.0, 3.0], dtype=">f8"), "number", 2.0),
        (torch.tensor([1, 3], dtype=torch.int16), "number", 2.0),
        (torch.tensor([1.0, 3.0], requires_grad=True), "number", 2.0),
    ],
)
def test_every_type_of_column_is_read_in_its_own_unit(column: object, kind: str, mean: float) -> None:
    moments = Moments.of(column)
    assert moments.kind == kind
    assert moments.mean == mean or math.isnan(mean)


def test_consecutive_nanosecond_timestamps_have_their_true_variance() -> None:
    moments = Moments.of((1_700_000_000_000_000_000 + np.arange(1001)).astype("M8[ns]"))
    assert moments.variance() == 83500.0
    assert moments.maximum - moments.minimum == 1000


def test_missing_values_are_counted_wherever_they_are_marked() -> None:
    for column in ([1, None, 2], pa.array([1, None, 2]), np.array([1, None, 2], dtype=object)):
        moments = Moments.of(column)
        assert (moments.count, moments.nulls, moments.total) == (2, 1, 3)


def test_k_folds_come_from_one_scan() -> None:
    values = np.random.default_rng(1).normal(size=(5, 200))
    folds = [Moments.of(fold) for fold in values]
    whole = sum(folds, Moments.zero())
    for i, fold in enumerate(folds):
        training = Moments.of(np.delete(values, i, axis=0).ravel())
        rest = whole - fold
        assert (rest.mean, rest.std(), rest.count) == (training.mean, training.std(), training.count)


def test_unmerge_refuses_what_was_never_merged() -> None:
    whole = Moments.of([1.0, 2.0, 3.0])
    for stranger in (Moments.of([9.0]), Moments.of([1.0] * 4), Moments.of([math.nan]), Moments.of([1.0, 1.0])):
        with pytest.raises(SourceError, match="unmerge"):
            whole.unmerge(stranger)


@pytest.mark.parametrize("other", [Moments.of([True]), Moments.of([Decimal(1)]), Moments.of(np.array([1], "M8[D]"))])
def test_kinds_that_do_not_add_up_refuse_to_merge(other: Moments) -> None:
    with pytest.raises(SourceError, match="do not add up"):
        Moments.of([1.0]).merge(other)


@pytest.mark.parametrize(
    "column",
    [
        "text",
        np.array(["a"]),
        pa.array(["a"]),
        ["a"],
        np.ones((2, 2)),
        np.array([1j]),
        object(),
        [Decimal(1), 0.5],
        3.0,
    ],
)
def test_what_is_no_column_of_numbers_is_refused(column: object) -> None:
    with pytest.raises(SourceError):
        Moments.of(column)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, math.nan], ["a", "b"], [[1.0, 2.0]]])
def test_unfit_weights_are_refused(weights: object) -> None:
    with pytest.raises(SourceError, match="weights"):
        Moments.of([1.0, 2.0], weights=weights)


@law
@given(st.binary(max_size=60), st.integers(0, 60))
def test_damaged_bytes_are_refused_or_are_a_possible_column(data: bytes, cut: int) -> None:
    good = Moments.of([1.5, 2.0]).to_bytes()
    for bad in (data, data + good, good[:cut] + data + good[cut:]):
        try:
            moments = Moments.from_bytes(bad)
        except ScalerFileError:
            continue
        assert moments.is_possible()


def test_truncated_and_overlong_bytes_are_refused_in_one_line() -> None:
    good = Moments.of([1.5, 2.0]).to_bytes()
    for bad in (good + b"\x00", *(good[:cut] for cut in range(len(good)))):
        with pytest.raises(ScalerFileError, match=r"\A[^\n]+\Z"):
            Moments.from_bytes(bad)


@pytest.mark.parametrize(
    "change",
    [
        {"count": -1},
        {"count": 1.5},
        {"count": True},
        {"kind": 3},
        {"total": ["1", 10**9]},
        {"total": ["9" * 10_000, 0]},
        {"total": ["abc", 0]},
        {"total": 1.5},
        {"squares": ["-1", 0]},
        {"weight": ["0", 0]},
        {"low": ["5", 0]},
        {"extra": 1},
    ],
)
def test_edited_records_are_refused(change: dict[str, object]) -> None:
    record = Moments.of([1.0, 2.0]).to_json() | change
    with pytest.raises(ScalerFileError):
        Moments.from_json(record)
