"""What the streams are distributed as, out to five sigma, and that nothing in them depends on anything else in them.

The streams are fixed, so these tests cannot flake; limits are five standard errors, or p-values of 1e-4.
"""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from onesigma.numbers.random import Normal, TruncatedNormal, Uniform, draw, draw_, key_of

COUNT = 2_000_000
KEY = key_of(0, "weight")

REFERENCES = {
    "normal": (Normal(), stats.norm()),
    "uniform": (Uniform(), stats.uniform()),
    "truncated": (TruncatedNormal(), stats.truncnorm(-2, 2)),
    "one-sided": (TruncatedNormal(0.0, 1.0, 0.5, 9.0), stats.truncnorm(0.5, 9)),
    "thin window": (TruncatedNormal(0.0, 1.0, 4.0, 4.2), stats.truncnorm(4, 4.2)),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_distribution_function_is_right_everywhere(name: str) -> None:
    distribution, exact = REFERENCES[name]
    values = draw(distribution, (COUNT // 4,), key=KEY).double().numpy()
    assert stats.kstest(values, exact.cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_moments_to_the_fourth_are_right(name: str, order: int) -> None:
    distribution, exact = REFERENCES[name]
    values = draw(distribution, (COUNT,), key=KEY).double().numpy()
    standard = (values - exact.mean()) / exact.std()
    powers = standard**order
    # The exact standardized moment: 0, 1, skewness, kurtosis.
    skewness, kurtosis = exact.stats(moments="sk")
    expected = (0.0, 1.0, float(skewness), float(kurtosis) + 3)[order - 1]
    assert powers.mean() == pytest.approx(expected, abs=5 * powers.std() / math.sqrt(COUNT))


def pieces_of_a_long_stream(count: int, *, key: int) -> Iterator[Tensor]:
    step = 10_000_000
    for begin in range(0, count, step):
        yield draw_(torch.empty(step), Normal(), key=key, shape=(count,), indices=[range(begin, begin + step)])


def test_tails_to_five_sigma_are_right_on_a_hundred_million_draws() -> None:
    count = 100_000_000
    beyond = {(side, sigmas): 0 for side in (-1, 1) for sigmas in (2, 3, 4, 5)}
    for values in pieces_of_a_long_stream(count, key=KEY):
        far = values[values.abs() > 2]
        for side, sigmas in beyond:
            beyond[side, sigmas] += int((side * far > sigmas).sum())
    for (_, sigmas), found in beyond.items():
        expected = count * stats.norm.sf(sigmas)
        assert abs(found - expected) < 5 * math.sqrt(expected)


def correlations(a: Tensor, b: Tensor) -> Iterator[float]:
    """Correlations of values, squares and signs, in units of their standard error."""
    for transform in (lambda z: z, torch.square, torch.sign):
        x, y = transform(a.double()), transform(b.double())
        pair = torch.corrcoef(torch.stack((x, y)))
        yield pair[0, 1].item() * math.sqrt(len(x))


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 8, 64, 4096])
def test_neighboring_counters_are_independent(lag: int) -> None:
    values = draw(Normal(), (COUNT,), key=KEY)
    assert all(abs(each) < 5 for each in correlations(values[:-lag], values[lag:]))


@pytest.mark.parametrize(
    ("seed", "name"), [(1, "weight"), (2**32, "weight"), (-1, "weight"), (0, "bias"), (0, "weight1"), (0, "Weight")]
)
def test_streams_of_other_names_and_seeds_are_independent(seed: int, name: str) -> None:
    values = draw(Normal(), (COUNT,), key=KEY)
    assert all(abs(each) < 5 for each in correlations(values, draw(Normal(), (COUNT,), key=key_of(seed, name))))


def test_streams_of_neighboring_keys_are_independent() -> None:
    values = draw(Normal(), (COUNT,), key=1)
    for key in (0, 2, 1 | 1 << 32, 1 | 1 << 63):
        assert all(abs(each) < 5 for each in correlations(values, draw(Normal(), (COUNT,), key=key)))


def chi_square(counts: np.ndarray) -> float:
    return float(stats.chisquare(counts.ravel()).pvalue)


def test_pairs_of_neighbors_fill_the_plane_evenly() -> None:
    cells = (draw(Uniform(0, 64), (COUNT,), key=KEY).long()).numpy().reshape(-1, 2)
    assert chi_square(np.bincount(cells @ [64, 1], minlength=4096)) > 1e-4


def test_the_first_values_of_many_names_fill_the_line_evenly() -> None:
    first = torch.cat([draw(Uniform(0, 50), (4,), key=key_of(0, f"blocks.{i}.weight"), threads=1) for i in range(5000)])
    assert chi_square(np.bincount(first.long().numpy(), minlength=50)) > 1e-4


def test_every_bit_of_a_uniform_is_fair_and_independent_of_the_others() -> None:
    words = (draw(Uniform(), (COUNT // 4,), key=KEY).double() * 2**24).long()
    bits = ((words[:, None] >> torch.arange(24)) & 1).double()
    assert ((bits.mean(0) - 0.5).abs() < 5 * 0.5 / math.sqrt(len(words))).all()
    off = torch.corrcoef(bits.T) - torch.eye(24)
    assert off.abs().max() < 5 / math.sqrt(len(words))


def test_rows_of_a_weight_are_uncorrelated() -> None:
    weight = draw(Normal(), (256, 10_000), key=KEY).double()
    off = torch.corrcoef(weight) - torch.eye(256)
    # 32,640 pairs: the largest of so many standard normals stays below 5.5.
    assert off.abs().max() < 5.5 / 100
