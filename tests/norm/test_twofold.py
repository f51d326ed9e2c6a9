"""Mean and variance from exact digits, for many columns at once, are those of exact rationals, rounded."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onesigma.norm.channels import Channels, Scratch
from onesigma.norm.twofold import mean_and_variance
from onesigma.numbers.channel_rows import write_rows
from onesigma.numbers.tally import Tally

TABLES = arrays(
    np.float32, st.tuples(st.integers(2, 9), st.integers(1, 3)), elements=st.floats(-(2.0**99), 2.0**99, width=32)
)


def exact(column: np.ndarray) -> tuple[float, float]:
    values = [Fraction(float(value)) for value in column]
    mean = sum(values, Fraction(0)) / len(values)
    return float(mean), float(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def assert_exact(table: np.ndarray) -> None:
    means, variances = mean_and_variance(Tally.of([table]), correction=1)
    for column, mean, variance in zip(table.T, means, variances, strict=True):
        expected = exact(column)
        # Two roundings of a float64 at most, one of the result and one of a divisor above 2^53.
        assert mean == pytest.approx(expected[0], rel=2**-52, abs=5e-324)
        # Where all but the last of 98 bits cancel, what is left of two equal numbers is taken for zero.
        assert variance == pytest.approx(
            expected[1], rel=2**-51, abs=2**-97 * float(np.square(column.astype(float)).max())
        )


@settings(deadline=None, max_examples=200)
@given(TABLES)
def test_any_table(table: np.ndarray) -> None:
    assert_exact(table)


@pytest.mark.parametrize("mean", [0.0, -3.0, 1e4, -1e6, 2.0**24])
def test_a_mean_however_large_costs_no_digit(mean: float) -> None:
    generator = np.random.default_rng(0)
    assert_exact((generator.standard_normal((100, 4)) + mean).astype(np.float32))


def test_a_constant_column_has_no_variance_and_one_value_has_none_that_is_known() -> None:
    assert mean_and_variance(Tally.of([np.full((1000, 1), 3.3, np.float32)]))[1].tolist() == [0.0]
    assert np.isnan(mean_and_variance(Tally.of([np.ones((1, 1), np.float32)]), correction=1)[1]).all()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=5), st.sampled_from([(), (2, 3)]), st.integers(0, 9))
def test_small_parts_wait_and_large_ones_do_not_and_no_bit_tells_them_apart(
    sizes: list[int], positions: tuple[int, ...], seed: int
) -> None:
    generator, scratch = torch.Generator().manual_seed(seed), Scratch()
    parts = [torch.randn(size, 3, *positions, generator=generator) * 5 + 100 for size in sizes]
    fed, whole = Channels(), Channels()
    for part in parts:
        fed.feed(part, scratch=scratch)
    whole.add(torch.cat(parts).movedim(1, -1).flatten(0, -2))
    for mine, theirs in zip(fed.read(), whole.read(), strict=True):
        assert np.array_equal(mine, theirs)
    assert [each.mean for each in whole.moments()] == whole.read().mean.tolist()


def test_what_waits_is_a_copy() -> None:
    channels, x = Channels(), torch.ones(4, 2)
    channels.feed(x, scratch=Scratch())
    x.zero_()
    assert channels.read().mean.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 8, 16), (3, 13, 49), (2, 5, 7), (1, 17, 8), (4, 3, 0)])
def test_images_are_written_as_rows_of_channels(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rows = np.full((shape[0] * shape[2], shape[1]), np.nan, np.float32)
    write_rows(x.numpy(), rows)
    assert np.array_equal(rows, x.movedim(1, -1).flatten(0, 1).numpy())
