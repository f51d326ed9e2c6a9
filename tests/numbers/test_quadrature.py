"""The adaptive grid: exact where the integral is known, honest about its error, and refusing what has no integral."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onesigma._errors import GainError
from onesigma.numbers.expectation import expectation
from onesigma.numbers.lobatto import DERIVATIVE, NODES, OPEN_WEIGHTS, WEIGHTS
from onesigma.numbers.quadrature import adaptive_grid


@pytest.mark.parametrize("degree", range(14))
def test_the_rules_integrate_polynomials(degree: int) -> None:
    exact = (1 + (-1) ** degree) / (degree + 1)
    for weights in (WEIGHTS, OPEN_WEIGHTS):
        assert weights @ NODES**degree == pytest.approx(exact, abs=1e-14)
    assert DERIVATIVE @ NODES**degree == pytest.approx(degree * NODES ** max(degree - 1, 0), abs=1e-11)


@pytest.mark.parametrize("degree", range(21))
def test_moments_of_the_normal_are_exact(degree: int) -> None:
    exact = 0 if degree % 2 else math.prod(range(1, degree, 2))
    grid = adaptive_grid(lambda z: z[None] ** degree, powers=1)
    assert abs(grid.expectation(grid.values) - exact) <= grid.errors[0, 0]
    assert grid.errors[0, 0] <= 1e-13 * grid.sizes[0, 0]


def test_several_functions_share_one_grid() -> None:
    grid = adaptive_grid(lambda z: np.stack((np.maximum(z - 0.3, 0), np.cos(z), np.sign(z + 1.1))))
    second_moments = ((grid.values * np.sqrt(grid.weights)) ** 2).sum(axis=1)
    kinked = 1.09 * math.erfc(0.3 / math.sqrt(2)) / 2 - 0.3 * math.exp(-0.045) / math.sqrt(2 * math.pi)
    assert second_moments == pytest.approx([kinked, (1 + math.exp(-2)) / 2, 1.0], rel=1e-14)


def test_mirrored_values_are_those_at_the_negated_points() -> None:
    grid = adaptive_grid(lambda z: np.exp(z)[None])
    assert np.array_equal(grid.mirrored(grid.points), -grid.points)
    assert np.array_equal(grid.mirrored(grid.values), np.exp(-grid.points)[None])


def test_slopes_come_from_the_values_where_autograd_gives_none() -> None:
    grid = adaptive_grid(lambda z: np.abs(np.sin(z - 0.2))[None])
    wide = (grid.widths > 1e-3) & (np.abs(grid.points) < 5)  # farther out the density is left to hide a kink
    exact = np.sign(np.sin(grid.points - 0.2)) * np.cos(grid.points - 0.2)
    assert grid.derivative(grid.values)[0, wide] == pytest.approx(exact[wide], abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.floats(-2, 2), st.floats(0.01, 4), st.floats(-3, 3))
def test_any_mean_and_variance_are_taken(mean: float, variance: float, kink: float) -> None:
    std = math.sqrt(variance)
    at = (mean - kink) / std
    exact = (mean - kink) * math.erfc(-at / math.sqrt(2)) / 2 + std * math.exp(-at * at / 2) / math.sqrt(2 * math.pi)
    value = expectation(lambda x: torch.relu(x - kink), variance, mean=mean)
    # The closed form cancels far from the kink; its own rounding is the tolerance there.
    assert value == pytest.approx(exact, rel=1e-12, abs=4e-16 * (abs(mean - kink) + std))


def test_variance_zero_is_the_value_at_the_mean() -> None:
    assert expectation(torch.exp, 0.0, mean=1.0) == pytest.approx(math.e, rel=1e-14)


@pytest.mark.parametrize(("variance", "mean"), [(-1.0, 0.0), (math.nan, 0.0), (math.inf, 0.0), (1.0, math.nan)])
def test_impossible_distributions_are_refused(variance: float, mean: float) -> None:
    with pytest.raises(GainError, match="does not exist"):
        expectation("tanh", variance, mean=mean)


def test_the_mean_may_exist_where_the_second_moment_does_not() -> None:
    assert expectation(lambda x: torch.exp(x * x / 4)) == pytest.approx(math.sqrt(2), rel=1e-12)
    assert expectation(lambda x: x.abs() ** -0.5) == pytest.approx(
        2**-0.25 * math.gamma(0.25) / math.sqrt(math.pi), rel=1e-9
    )
    with pytest.raises(GainError, match=r"exp\(z²/2\)"):
        expectation(lambda x: torch.exp(x * x / 2))
    with pytest.raises(GainError, match="does not exist"):
        expectation(lambda x: 1 / x.abs())


@settings(deadline=None, max_examples=15)
@given(st.floats(-3, 3), st.floats(1e-3, 0.5))
def test_the_error_bounds_the_error_of_spikes_and_steps(place: float, width: float) -> None:
    def evaluate(z):
        return np.stack((np.exp(-(((z - place) / width) ** 2) / 2), np.floor(z / width)))

    grid = adaptive_grid(evaluate, powers=1)
    shrunk = width**2 / (1 + width**2)
    spike = math.sqrt(shrunk) * math.exp(-(place**2) / 2 / (1 + width**2))
    # E[floor(z/w)] = −1/2 by symmetry: floor(−x) = −floor(x) − 1 almost everywhere.
    for value, error, exact in zip(
        (grid.values * grid.weights).sum(axis=1), grid.errors[0], (spike, -0.5), strict=True
    ):
        assert abs(value - exact) <= error
