"""Compute the moments of the named activations to 50 digits, as reference data for the tests.

Written against the definitions alone, with mpmath, and without a line of onesigma: composite Gauss–Legendre on
panels of width 1/2, so that every kink below is the end of one, and derivatives by differences in doubled precision.
Two rules of different order must agree to 50 digits, or nothing is written. It takes four minutes.

    python scripts/reference_moments.py tests/numbers/data/reference_moments.json
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import mpmath as mp
from mpmath import mpf

DIGITS = 50
REACH = 24  # exp has its second moment around z = 2; the density there is 1e-125
Function = Callable[[mpf], mpf]


def sigmoid(x: mpf) -> mpf:
    """1/(1 + e⁻ˣ)."""
    return 1 / (1 + mp.exp(-x))


def softplus(x: mpf) -> mpf:
    """ln(1 + eˣ)."""
    return mp.log1p(mp.exp(x))


def normal_cdf(x: mpf) -> mpf:
    """Φ(x)."""
    return mp.erfc(-x / mp.sqrt(2)) / 2


def leaky(slope: mpf) -> Function:
    """The identity above zero, `slope` times it below."""
    return lambda x: x if x > 0 else slope * x


def elu(alpha: mpf) -> Function:
    """The identity above zero, alpha·(eˣ − 1) below."""
    return lambda x: x if x > 0 else alpha * mp.expm1(x)


def clamp(x: mpf, low: int, high: int) -> mpf:
    """The nearest number to x in [low, high]."""
    return max(mpf(low), min(mpf(high), x))


def gelu_tanh(x: mpf) -> mpf:
    """Hendrycks and Gimpel's approximation of x·Φ(x)."""
    return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)))


def laplace(x: mpf) -> mpf:
    """A normal distribution function with the rounded constants of the MEGA paper."""
    return (1 + mp.erf((x - mpf("0.707107")) / (mpf("0.282095") * mp.sqrt(2)))) / 2


def functions() -> dict[str, Function]:
    """Every named activation, by its definition."""
    scale = mpf("1.0507009873554804934193349852946")
    alpha = mpf("1.6732632423543772848170429916717")
    half = mpf(1) / 2
    return {
        "identity": lambda x: x,
        "relu": lambda x: max(x, mpf(0)),
        "relu6": lambda x: clamp(x, 0, 6),
        "leaky_relu": leaky(mpf("0.01")),
        "leaky_relu(0.2)": leaky(mpf("0.2")),
        "prelu": leaky(mpf("0.25")),
        "rrelu": leaky(mpf(11) / 48),
        "relu_squared": lambda x: max(x, mpf(0)) ** 2,
        "threshold(1, 0.5)": lambda x: x if x > 1 else half,
        "elu": elu(mpf(1)),
        "elu(0.5)": elu(half),
        "celu": elu(mpf(1)),
        "celu(2)": lambda x: x if x > 0 else 2 * mp.expm1(x / 2),
        "selu": lambda x: scale * elu(alpha)(x),
        "gelu": lambda x: x * normal_cdf(x),
        "gelu_tanh": gelu_tanh,
        "quick_gelu": lambda x: x * sigmoid(mpf("1.702") * x),
        "silu": lambda x: x * sigmoid(x),
        "silu(2)": lambda x: x * sigmoid(2 * x),
        "mish": lambda x: x * mp.tanh(softplus(x)),
        "hardswish": lambda x: x * clamp(x + 3, 0, 6) / 6,
        "tanh": mp.tanh,
        "hardtanh": lambda x: clamp(x, -1, 1),
        "tanhshrink": lambda x: x - mp.tanh(x),
        "softshrink": lambda x: mp.sign(x) * max(abs(x) - half, mpf(0)),
        "hardshrink": lambda x: x if abs(x) > half else mpf(0),
        "sigmoid": sigmoid,
        "hardsigmoid": lambda x: clamp(x + 3, 0, 6) / 6,
        "logsigmoid": lambda x: -softplus(-x),
        "softplus": softplus,
        "softplus(2)": lambda x: softplus(2 * x) / 2,
        "softsign": lambda x: x / (1 + abs(x)),
        "erf": mp.erf,
        "arctan": mp.atan,
        "arcsinh": mp.asinh,
        "isru": lambda x: x / mp.sqrt(1 + x * x),
        "sin": mp.sin,
        "cos": mp.cos,
        "snake": lambda x: x + mp.sin(x) ** 2,
        "gaussian": lambda x: mp.exp(-x * x),
        "laplace": laplace,
        "exp": mp.exp,
        "abs": abs,
        "square": lambda x: x * x,
        "lisht": lambda x: x * mp.tanh(x),
    }


def gauss_legendre(order: int) -> list[tuple[mpf, mpf]]:
    """Nodes and weights on [−1, 1], by Newton's iteration from the usual cosine guess."""
    rule = []
    for k in range(order):
        node = mp.cos(mp.pi * (k + mpf(3) / 4) / (order + mpf(1) / 2))
        for _ in range(8):  # each step doubles the digits
            last, here = mpf(1), node
            for degree in range(2, order + 1):
                last, here = here, ((2 * degree - 1) * node * here - (degree - 1) * last) / degree
            slope = order * (node * here - last) / (node**2 - 1)
            node -= here / slope
        rule.append((node, 2 / ((1 - node**2) * slope**2)))
    return rule


def moments(f: Function, rule: list[tuple[mpf, mpf]]) -> dict[str, mpf]:
    """What `ActivationMoments` holds, from one sweep over the line."""
    sums = dict.fromkeys(("mean", "second", "slope", "odd", "weighted"), mpf(0))
    quarter = mpf(1) / 4
    for panel in range(-2 * REACH, 2 * REACH):
        for node, weight in rule:
            z = (panel + mpf(1) / 2) / 2 + quarter * node
            mass = quarter * weight * mp.npdf(z)
            value, slope = f(z), mp.diff(f, z)
            sums["mean"] += mass * value
            sums["second"] += mass * value**2
            sums["slope"] += mass * slope**2
            sums["odd"] += mass * (value - f(-z)) ** 2
            sums["weighted"] += mass * (z * value) ** 2
    variance = sums["second"] - sums["mean"] ** 2
    negligible = mpf(10) ** -DIGITS
    return {
        "mean": sums["mean"] if abs(sums["mean"]) > negligible else mpf(0),
        "second_moment": sums["second"],
        "variance": variance,
        "slope_second_moment": sums["slope"],
        "gain": 1 / mp.sqrt(sums["second"]),
        "std_gain": 1 / mp.sqrt(variance),
        "chi": sums["slope"] / sums["second"],
        "stability": (sums["weighted"] / sums["second"] - 1) / 2,
        "odd_gain": 1 / mp.sqrt(sums["odd"]) if sums["odd"] > negligible else mp.inf,
    }


def main(path: Path) -> None:
    """Write the table, or fail where two rules disagree."""
    mp.mp.dps = DIGITS + 20
    rules = gauss_legendre(40), gauss_legendre(48)
    table = {}
    for name, f in functions().items():
        first, second = (moments(f, rule) for rule in rules)
        for key, value in first.items():
            apart = abs(value - second[key]) if mp.isfinite(value) else mpf(0)
            if apart > mpf(10) ** -DIGITS * max(1, abs(value)):
                raise SystemExit(f"{name}.{key}: the two rules differ by {mp.nstr(apart, 3)}")
        table[name] = {key: mp.nstr(value, DIGITS, strip_zeros=False) for key, value in second.items()}
        sys.stderr.write(f"{name}: gain {table[name]['gain']}\n")
    path.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
