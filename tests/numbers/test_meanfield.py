"""Mean field theory: maps against closed forms, points against the literature, and what has none refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from onesigma._errors import GainError
from onesigma.numbers.activation_moments import activation_moments
from onesigma.numbers.activations import activation
from onesigma.numbers.expectation import expectation
from onesigma.numbers.meanfield import (
    correlation_map,
    critical_point,
    depth_scales,
    fixed_points,
    variance_for_depth,
    variance_map,
)

# f, weight_std², bias_std², q*: printed to six decimals (Schoenholz 2017, Xiao 2018, and computed for the project).
CRITICAL = [
    ("tanh", 1.760955, 0.05, 0.570048),
    ("tanh", 1.049996, 2.01e-5, 0.025919),
    ("tanh", 1.260094, 0.0025, 0.153692),
    ("tanh", 1.424205, 0.01, 0.273301),
    ("tanh", 1.700796, 0.04, 0.512079),
    ("erf", 1.328937, 0.04, 0.465763),
    ("erf", 1.375839, 0.05, 0.517177),
    ("gelu", 2.393238, 0.04, 0.575637),
    ("gelu", 2.302520, 0.05, 0.722036),
    ("silu", 2.820826, 0.04, 0.689453),
    ("silu", 2.728612, 0.05, 0.826576),
    ("mish", 2.141654, 0.04, 0.745549),
    ("mish", 2.104798, 0.05, 0.905400),
    ("elu", 1.511058, 0.04, 1.106931),
    ("elu", 1.533718, 0.05, 1.300913),
]


@pytest.mark.parametrize(("f", "weight_variance", "bias_variance", "variance"), CRITICAL)
def test_critical_points_agree_with_every_printed_digit(
    f: str, weight_variance: float, bias_variance: float, variance: float
) -> None:
    point = critical_point(f, math.sqrt(bias_variance))
    assert point.weight_std**2 == pytest.approx(weight_variance, abs=0.51e-6)
    assert point.variance == pytest.approx(variance, abs=0.51e-6)


@pytest.mark.parametrize(
    ("f", "bias_std"), [("tanh", 0.3), ("gelu", 0.2), ("silu", 0.1), ("selu", 0.2), ("hardtanh", 0.1)]
)
def test_a_critical_point_keeps_variance_and_gradient(f: str, bias_std: float) -> None:
    point = critical_point(f, bias_std)
    kept = variance_map(f, point.variance, weight_std=point.weight_std, bias_std=bias_std)
    assert kept == pytest.approx(point.variance, rel=1e-11)
    (found,) = (
        p for p in fixed_points(f, weight_std=point.weight_std, bias_std=bias_std) if math.isclose(p.variance, kept)
    )
    assert found.chi == pytest.approx(1, rel=1e-11)
    assert found.slope == pytest.approx(point.slope, rel=1e-9)


def test_critical_points_of_rectifiers_and_small_signals() -> None:
    relu, tanh = critical_point("relu"), critical_point("tanh")
    assert (relu.weight_std, relu.variance) == pytest.approx((math.sqrt(2), 1.0), rel=1e-14)
    assert (tanh.weight_std, tanh.variance) == pytest.approx((1.0, 0.0), rel=1e-14)


@pytest.mark.parametrize(
    ("f", "bias_std"),
    [
        ("gelu", 0),
        ("silu", 0),
        ("mish", 0),
        ("relu", 0.1),
        ("softplus", 0.0),
        ("softplus", 0.2),
        ("sigmoid", 0.2),
        ("square", 0),
    ],
)
def test_what_has_no_critical_point_is_refused(f: str, bias_std: float) -> None:
    with pytest.raises(GainError, match=f"{f}: no critical point"):
        critical_point(f, bias_std)


@pytest.mark.parametrize(
    ("weight_std", "variance", "chi"),
    [(1.3, 0.607047, 0.939807), (2.5, 4.079124, 1.585225), (4.0, 12.604149, 2.367261)],
)
def test_tanh_off_the_critical_line(weight_std: float, variance: float, chi: float) -> None:
    (point,) = fixed_points("tanh", weight_std=weight_std, bias_std=0.3)
    assert point.variance == pytest.approx(variance, abs=0.51e-6)
    assert point.chi == pytest.approx(chi, abs=0.51e-6)


def test_published_gains_settle_where_it_was_measured() -> None:
    *_, tanh = fixed_points("tanh", weight_std=5 / 3)
    assert (tanh.variance, tanh.chi) == pytest.approx((1.178480, 1.2098), abs=0.5e-4)
    assert math.sqrt(tanh.variance) / (5 / 3) == pytest.approx(0.651347, abs=0.51e-6)
    *_, selu = fixed_points("selu", weight_std=0.75)
    std = math.sqrt(selu.variance / 0.75**2 - expectation("selu", selu.variance) ** 2)
    assert std == pytest.approx(0.199571, abs=0.51e-6)  # .194 to .209 was measured after 100 layers


def test_unit_gain_is_a_fixed_point_and_its_slope_is_the_stability() -> None:
    for f in ("silu", "gelu", "elu", "tanh"):
        *_, point = fixed_points(f)
        moments = activation_moments(f)
        assert point.variance == pytest.approx(1, rel=1e-12)
        assert (point.slope, point.chi) == pytest.approx((moments.stability, moments.chi), rel=1e-11)


def test_relu_keeps_every_variance_at_its_gain_and_none_beside_it() -> None:
    assert [p.variance for p in fixed_points("relu")] == [1.0]
    assert [p.variance for p in fixed_points("relu", weight_std=1.2)] == [0.0]


@settings(deadline=None, max_examples=10)
@given(st.floats(-1, 1), st.floats(0.01, 10))
def test_the_correlation_map_of_relu_is_the_arc_cosine_kernel(c: float, variance: float) -> None:
    kernel = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
    assert correlation_map("relu", c, variance=variance) == pytest.approx(kernel, rel=1e-12, abs=1e-13)


@settings(deadline=None, max_examples=10)
@given(st.floats(-1, 1), st.floats(0.1, 5))
def test_the_correlation_map_of_erf_is_its_arc_sine_kernel(c: float, variance: float) -> None:
    def kernel(product: float) -> float:
        return 2 / math.pi * math.asin(2 * product / (1 + 2 * variance))

    expected = (kernel(c * variance) + 0.04) / (kernel(variance) + 0.04)
    assert correlation_map("erf", c, variance=variance, weight_std=1.0, bias_std=0.2) == pytest.approx(
        expected, rel=1e-12, abs=1e-13
    )


@pytest.mark.parametrize("c", [-0.999, -0.3, 0.0, 0.5, 0.99, 1 - 1e-9])
def test_the_correlation_map_sees_jumps(c: float) -> None:
    assert correlation_map(torch.sign, c) == pytest.approx(2 / math.pi * math.asin(c), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("f", ["hardshrink", "hardtanh", "threshold(0.375, 0)"])
def test_the_correlation_map_sees_what_lies_at_the_edge_of_a_panel(f: str) -> None:
    # A kink at a round number is where the grid would end a panel anyway; a hair beside it, it has to be found.
    function, hair = activation(f), 1e-12
    beside = correlation_map(lambda x: function(x * (1 + hair)), 0.4)
    assert correlation_map(f, 0.4) == pytest.approx(beside, rel=100 * hair)


def test_relu_makes_all_samples_alike() -> None:
    c, seen = 0.0, {}
    for layer in range(1, 51):
        c = correlation_map("relu", c)
        seen[layer] = round(c, 3)
    assert [seen[layer] for layer in (1, 2, 5, 10, 20, 50)] == [0.318, 0.494, 0.736, 0.872, 0.948, 0.988]


def test_depth_scales_of_ordered_and_chaotic_tanh() -> None:
    ordered = depth_scales("tanh", weight_std=1.3, bias_std=0.3)
    assert ordered.correlation == 1.0
    assert ordered.gradient_depth == pytest.approx(-1 / math.log(0.939807), rel=1e-5)
    assert ordered.correlation_depth == pytest.approx(ordered.gradient_depth, rel=1e-12)
    chaotic = depth_scales("tanh", weight_std=2.5, bias_std=0.3)
    mapped = correlation_map("tanh", chaotic.correlation, variance=chaotic.variance, weight_std=2.5, bias_std=0.3)
    assert 0 < chaotic.correlation < 1
    assert mapped == pytest.approx(chaotic.correlation, rel=1e-10)


def test_depth_scales_are_infinite_at_a_critical_point() -> None:
    point = critical_point("tanh", 0.2)
    scales = depth_scales("tanh", weight_std=point.weight_std, bias_std=0.2)
    assert scales.gradient_depth > 1e9
    assert depth_scales("relu").gradient_depth == math.inf


@pytest.mark.parametrize(("weight_std", "fate"), [(1.0, "dies out"), (2.0, "grows without bound")])
def test_a_variance_that_settles_nowhere_has_no_depth_scale(weight_std: float, fate: str) -> None:
    with pytest.raises(GainError, match=fate):
        depth_scales("relu", weight_std=weight_std)


@pytest.mark.parametrize("f", ["relu", "gelu", "silu", "softplus", nn.ReLU(), "identity"])
def test_functions_whose_odd_part_is_the_identity_take_unit_variance_at_any_depth(f: object) -> None:
    assert variance_for_depth(f, 10_000) == 1.0


@pytest.mark.parametrize("f", ["tanh", "erf", "softsign"])
@pytest.mark.parametrize("depth", [5, 50, 500])
def test_the_variance_for_a_depth_meets_the_bound_exactly(f: str, depth: int) -> None:
    variance = variance_for_depth(f, depth)
    m = activation_moments(
        lambda x: {"tanh": torch.tanh, "erf": torch.erf}.get(f, nn.functional.softsign)(math.sqrt(variance) * x)
    )
    assert depth * math.log(m.chi) == pytest.approx(math.log(2), rel=1e-9)


@pytest.mark.parametrize("f", ["elu", "selu", "mish", "sigmoid"])
def test_other_functions_are_judged_by_their_odd_part(f: str) -> None:
    base = {"elu": nn.functional.elu, "selu": nn.functional.selu, "mish": nn.functional.mish, "sigmoid": torch.sigmoid}[
        f
    ]
    variance = variance_for_depth(f, 1000)
    assert variance == pytest.approx(variance_for_depth(lambda x: base(x) - base(-x), 1000), rel=1e-9)
    assert variance_for_depth(f, 1000, bound=30.0) > variance


def test_sigmoid_is_treated_as_the_tanh_that_its_odd_part_is() -> None:
    assert variance_for_depth("sigmoid", 2000) == pytest.approx(4 * variance_for_depth("tanh", 2000), rel=1e-8)


def test_no_variance_is_above_one() -> None:
    assert variance_for_depth("tanh", 1) == 1.0


@pytest.mark.parametrize(("f", "reason"), [("cos", "even"), ("hardshrink", "at no variance")])
def test_functions_that_cannot_go_deep_are_refused(f: str, reason: str) -> None:
    with pytest.raises(GainError, match=reason):
        variance_for_depth(f, 20)


@pytest.mark.parametrize(
    "call",
    [
        lambda: variance_map("tanh", -1.0),
        lambda: variance_map("tanh", math.nan),
        lambda: variance_map("tanh", 1.0, bias_std=-0.1),
        lambda: correlation_map("tanh", 1.5),
        lambda: correlation_map("tanh", 0.5, variance=0.0),
        lambda: critical_point("tanh", -1.0),
        lambda: variance_for_depth("tanh", 0),
        lambda: variance_for_depth("tanh", 10, bound=1.0),
        lambda: fixed_points("tanh", weight_std=math.inf),
    ],
)
def test_numbers_out_of_range_are_refused(call) -> None:
    with pytest.raises(GainError):
        call()
