"""The compiled sums against rational arithmetic, on blocks large enough to be scanned, and data made to break them."""

import logging
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onesigma.numbers.device import tally_of_tensor
from onesigma.numbers.digits import digits_value
from onesigma.numbers.kernel import compiled
from onesigma.numbers.tally import Tally
from onesigma.numbers.weighted import BASES, weighted_digits

SHAPES = [(1, 1), (3, 5), (4, 512), (700, 3), (513, 1), (2049, 7), (1030, 260), (9, 1100), (600, 513)]


def columns_agree(tally: Tally, table: np.ndarray) -> None:
    for column in range(0, table.shape[1], max(1, table.shape[1] // 4)):
        with np.errstate(invalid="ignore"):  # signaling NaNs
            values = table[:, column].astype(np.float64)
        finite = values[np.isfinite(values)]
        exact = [Fraction(value) for value in finite.tolist()]
        assert tally.finite[column] == len(exact)
        assert tally.sum_of(column) == sum(exact)
        assert tally.squares_of(column) == sum(value * value for value in exact)
        assert tally.bounds_of(column) == ((min(exact), max(exact)) if exact else (None, None))
        nonfinite = [np.isnan(values).sum(), (values == np.inf).sum(), (values == -np.inf).sum()]
        assert tally.nonfinite[column].tolist() == nonfinite


def equal(left: Tally, right: Tally) -> bool:
    names = ("finite", "nonfinite", "low", "high", "total", "squares")
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in names)


def drawn(kind: str, shape: tuple[int, int], dtype: type) -> np.ndarray:
    """Tables that reach every path: the scan, another grid, the spread of limbs, scaling, and single bits."""
    random = np.random.default_rng(KINDS.index(kind))
    normal = random.normal(size=shape)
    bits = random.integers(0, 2**64, shape, dtype=np.uint64)
    with np.errstate(all="ignore"):
        tables = {
            "normal": normal,
            "shifted": normal * 3 + 1e6,
            "zeros": np.where(random.random(shape) < 0.9, 0.0, normal),
            "wide": np.exp(normal * 8),
            "wider": np.exp(normal * 40),
            "outlier": np.where(random.random(shape) < 1e-3, 1e25, normal),
            "tiny among large": np.where(random.random(shape) < 1e-2, 1e-30, normal),
            "subnormal": normal * float(np.finfo(dtype).tiny),
            "near the top": normal * float(np.finfo(dtype).max) / 8,
            "scaled up": normal * (1e200 if dtype is np.float64 else 1e30),
            "scaled down": normal * (1e-200 if dtype is np.float64 else 1e-30),
            "NaN": np.where(random.random(shape) < 0.3, np.nan, normal),
            "one NaN": np.where(np.arange(normal.size).reshape(shape) == 0, np.nan, normal),
            "infinities": np.where(random.random(shape) < 0.01, random.choice([np.inf, -np.inf], shape), normal),
            "constant": np.full(shape, 14.62),
            "powers": 2.0 ** random.integers(-100, 100, shape),
            "drifting": normal * 2.0 ** (np.arange(shape[0]) // 100)[:, None],
            "any bits": bits.view(np.float64) if dtype is np.float64 else bits.astype(np.uint32).view(np.float32),
        }
        return tables[kind].astype(dtype)


KINDS = [
    *("normal", "shifted", "zeros", "wide", "wider", "outlier", "tiny among large", "subnormal", "near the top"),
    *("scaled up", "scaled down", "NaN", "one NaN", "infinities", "constant", "powers", "drifting", "any bits"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_every_path_equals_rational_arithmetic(kind: str, dtype: type) -> None:
    for shape in SHAPES:
        table = drawn(kind, shape, dtype)
        columns_agree(Tally.of([table]), table)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_order_and_splits_change_no_digit(kind: str, dtype: type) -> None:
    table = drawn(kind, (2500, 6), dtype)
    whole = Tally.of([table])
    padded = np.zeros((2500, 13), dtype)
    padded[:, ::2] = np.hstack([table, table[:, :1]])
    assert equal(whole, Tally.of([np.asfortranarray(table)]))
    assert equal(whole, Tally.of([padded[:, :12:2]]))
    assert equal(whole, Tally.of([table[:, :4], np.asfortranarray(table[:, 4:])]))
    assert equal(whole, Tally.of([table[:1111]]).merge(Tally.of([table[1111:]])))
    assert equal(whole, Tally.of([np.random.default_rng(0).permutation(table)]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_tensor_operations_give_the_same_digits(kind: str, dtype: type) -> None:
    """As on other devices: the operations are the same, and none of them rounds."""
    for shape in [(1, 1), (1100, 5), (600, 40)]:
        table = drawn(kind, shape, dtype)
        assert equal(tally_of_tensor(torch.from_numpy(table)), Tally.of([table]))


def test_the_number_of_threads_changes_no_digit() -> None:
    table = drawn("wide", (300_000, 16), np.float32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = Tally.of([table])
        torch.set_num_threads(3)
        assert equal(one, Tally.of([table]))
    finally:
        torch.set_num_threads(threads)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(-250, 250),
    st.floats(0, 60),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
)
def test_any_mixture_of_exponents_and_mantissas_is_exact(
    seed: int, center: float, spread: float, dtype: type, trailing_zeros: bool
) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 1200)), int(random.integers(1, 9)))
    mantissas = random.integers(2**52, 2**53, shape) >> (random.integers(0, 53, shape) if trailing_zeros else 0)
    exponents = random.normal(center, spread, shape).astype(np.int64) - 52
    with np.errstate(all="ignore"):
        table = (np.ldexp(mantissas.astype(np.float64), exponents) * random.choice([-1, 1], shape)).astype(dtype)
    columns_agree(Tally.of([table]), table)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_of_every_width_are_exact_at_their_ends(dtype: type) -> None:
    ends = np.iinfo(dtype)
    table = np.random.default_rng(0).integers(ends.min, ends.max, (3000, 3), dtype=dtype, endpoint=True)
    table[:1000, 0], table[:1000, 1] = ends.min, ends.max
    tally = Tally.of([table])
    for column in range(3):
        exact = table[:, column].tolist()
        assert tally.sum_of(column) == sum(exact)
        assert tally.squares_of(column) == sum(value * value for value in exact)
        assert tally.bounds_of(column) == (min(exact), max(exact))


def test_weighted_sums_are_exact_over_the_whole_range_of_doubles() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**64, (2, 3000), dtype=np.uint64).view(np.float64)
    values, weights = bits[0], np.abs(bits[1])
    kept = np.isfinite(values) & np.isfinite(weights) & (weights > 0)
    values, weights = values[kept], weights[kept]
    exact = [(Fraction(x), Fraction(w)) for x, w in zip(values.tolist(), weights.tolist(), strict=True)]
    found = [digits_value(row[0], base) for row, base in zip(weighted_digits(values, weights), BASES, strict=True)]
    assert found == [sum(w for _, w in exact), sum(w * x for x, w in exact), sum(w * x * x for x, w in exact)]


def test_tables_without_rows_or_columns_are_empty() -> None:
    assert Tally.of([np.empty((0, 3))]).finite.tolist() == [0, 0, 0]
    assert Tally.of([np.empty((3, 0))]).finite.tolist() == []
    assert Tally.of([np.empty((0, 3))]).bounds_of(0) == (None, None)


def test_compilation_is_announced_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    # Code without a file has no cache on disk, so it is compiled on every run.
    scope: dict[str, Any] = {"__name__": "onesigma.numbers.kernel"}
    exec("def double(value):\n    return 2 * value", scope)
    with caplog.at_level(logging.INFO):
        assert compiled(scope["double"])(1.0) == 2.0
    assert "compiling double" in caplog.text
