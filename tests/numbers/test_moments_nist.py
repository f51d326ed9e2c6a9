"""NIST StRD univariate summary statistics, and the tables where today's tools break."""

import math
import statistics
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest

from onesigma.numbers.columns import Columns
from onesigma.numbers.moments import Moments

NIST = Path(__file__).resolve().parents[3] / "shared" / "data" / "nist"

CERTIFIED = {
    "PiDigits": ("4.53480000000000", "2.86733906028871"),
    "Lottery": ("518.958715596330", "291.699727470969"),
    "Lew": ("-177.435000000000", "277.332168044316"),
    "Mavro": ("2.00185600000000", "0.000429123454003053"),
    "Michelso": ("299.852400000000", "0.0790105478190518"),
    "NumAcc1": ("10000002", "1"),
    "NumAcc2": ("1.2", "0.1"),
    "NumAcc3": ("1000000.2", "0.1"),
    "NumAcc4": ("10000000.2", "0.1"),
}
"""Mean and std (n − 1), https://www.itl.nist.gov/div898/strd/univ/homepage.html."""

OF_DOUBLES = {
    "PiDigits": (4.5348, 2.867339060288708, 2.86705231204455),
    "Lottery": (518.9587155963303, 291.6997274709691, 291.0299223907924),
    "Lew": (-177.435, 277.3321680443161, 276.637968787728),
    "Mavro": (2.001856, 0.0004291234540030854, 0.0004248105460084853),
    "Michelso": (299.8524, 0.07901054781905066, 0.07861450247886727),
    "NumAcc1": (10000002.0, 1.0, 0.816496580927726),
    "NumAcc2": (1.2, 0.09999999999999998, 0.0999500374687773),
    "NumAcc3": (1000000.2, 0.1000000000349246, 0.09995003750368446),
    "NumAcc4": (10000000.2, 0.10000000055879354, 0.09995003802729167),
}
"""Exact mean, std and population std of the doubles nearest to the data."""


def digits_of_pi(count: int) -> list[str]:
    """31415… with the one slip of NIST's set: its digit 957 is 3 where pi has 8."""
    with mpmath.workdps(count + 20):
        digits = list(mpmath.nstr(+mpmath.pi, count + 10).replace(".", "")[:count])
    assert digits[956] == "8"
    digits[956] = "3"
    return digits


def texts(name: str) -> list[str]:
    if name == "PiDigits":
        return digits_of_pi(5000)
    if name == "NumAcc1":
        return ["10000001", "10000003", "10000002"]
    if name.startswith("NumAcc"):
        middle = Decimal(CERTIFIED[name][0])
        return [str(middle), *[str(middle - Decimal("0.1")), str(middle + Decimal("0.1"))] * 500]
    path = NIST / f"{name}.dat"
    if not path.exists():
        pytest.skip(f"the NIST file {path.name} is not beside this checkout")
    lines = path.read_text().splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith("---")) + 1
    return [line.strip() for line in lines[start:] if line.strip()]


def log_relative_error(found: float, certified: str) -> float:
    error = abs(Fraction(found) - Fraction(certified)) / abs(Fraction(certified))
    # The certified values have 15 digits: half a unit of the last is as good as none.
    return 15.0 if error <= Fraction(5, 10**15) else -math.log10(error)


@pytest.mark.parametrize("name", CERTIFIED)
def test_decimal_text_reaches_all_certified_digits(name: str) -> None:
    moments = Moments.of([Decimal(text) for text in texts(name)])
    mean, std = CERTIFIED[name]
    assert log_relative_error(moments.mean, mean) == 15
    assert log_relative_error(moments.std(correction=1), std) == 15


@pytest.mark.parametrize("name", OF_DOUBLES)
def test_doubles_give_the_exact_answer_of_the_doubles_bit_for_bit(name: str) -> None:
    moments = Moments.of(np.array([float(text) for text in texts(name)]))
    mean, std, population_std = OF_DOUBLES[name]
    assert (moments.mean, moments.std(correction=1)) == (mean, std)
    assert f"{moments.std():.15g}" == f"{population_std:.15g}"
    exact = [Fraction(float(text)) for text in texts(name)]
    assert moments.mean == float(statistics.mean(exact))
    assert moments.std(correction=1) == statistics.stdev(exact)
    assert moments.std() == statistics.pstdev(exact)


def test_floats_of_numacc4_have_no_variance_left() -> None:
    assert Moments.of(np.array([float(text) for text in texts("NumAcc4")], np.float32)).is_constant


LARGE = np.random.default_rng(0).normal(size=20_000)


@pytest.mark.parametrize(
    "values",
    [
        LARGE + 1e8,
        LARGE + 1e12,
        LARGE + 1e15,
        np.full(20_000, 14.62),
        np.full(20_000, 1e300),
        LARGE * 1e200,
        LARGE * 1e-200,
    ],
    ids=["1e8", "1e12", "1e15", "constant", "constant 1e300", "scale 1e200", "scale 1e-200"],
)
def test_no_ulp_is_lost_where_other_tools_lose_half_of_them(values: np.ndarray) -> None:
    parts = [Moments.of(part) for part in np.array_split(values, 7)]
    moments = sum(parts, Moments.zero())
    exact = [Fraction(value) for value in values.tolist()]
    assert moments.mean == float(statistics.mean(exact))
    assert moments.std() == statistics.pstdev(exact)


TORTURE = {
    "constant": np.full(3000, 14.62),
    "tiny": np.random.default_rng(1).normal(size=3000) * 1e-9,
    "NaN in the first chunk": np.where(np.arange(3000) < 500, np.nan, np.random.default_rng(2).normal(size=3000)),
    "unix nanoseconds": 1_700_000_000_000_000_000 + np.random.default_rng(3).integers(0, 86_400 * 10**9, 3000),
    "1e6 ± 0.05": 1e6 + np.random.default_rng(4).normal(size=3000) * 0.05,
    "1000 ± 0.05 in floats": (1000 + np.random.default_rng(5).normal(size=3000) * 0.05).astype(np.float32),
}


@pytest.mark.parametrize("name", TORTURE)
def test_three_chunks_give_the_right_scale_for_every_tortured_column(name: str) -> None:
    chunks = [Columns.of({name: chunk}) for chunk in np.split(TORTURE[name], 3)]
    moments = (chunks[0] + chunks[1] + chunks[2])[name]
    exact = [
        Fraction(value) for value in TORTURE[name].tolist() if not isinstance(value, float) or math.isfinite(value)
    ]
    assert moments.mean == float(statistics.mean(exact))
    assert moments.std() == statistics.pstdev(exact)
    assert (moments.std() == 0) == (name == "constant")
