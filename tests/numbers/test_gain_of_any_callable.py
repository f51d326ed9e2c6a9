"""Gains of functions that nobody named: kinks, jumps, poles, modules, and what must be refused."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from onesigma._errors import GainError
from onesigma.numbers.activation_moments import activation_moments
from onesigma.numbers.gain import gain, gain_of

LOCATION = st.floats(-3, 3)


def density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def tail(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


def assert_within_its_error(f: Callable[[torch.Tensor], torch.Tensor], second_moment: float) -> None:
    m = activation_moments(f)
    assert m.error <= 1e-6
    assert m.second_moment == pytest.approx(second_moment, rel=m.error)


@settings(deadline=None, max_examples=25)
@given(LOCATION)
def test_a_kink_anywhere_is_found(kink: float) -> None:
    exact = (1 + kink**2) * tail(kink) - kink * density(kink)
    # The closed form cancels for kinks far out; its own rounding is the tolerance then.
    m = activation_moments(lambda x: torch.relu(x - kink))
    assert m.second_moment == pytest.approx(exact, rel=m.error, abs=8e-16 * (1 + kink**2))
    assert m.slope_second_moment == pytest.approx(tail(kink), rel=m.error + 4e-16)


@settings(deadline=None, max_examples=25)
@given(LOCATION)
def test_a_jump_anywhere_is_found(jump: float) -> None:
    m = activation_moments(lambda x: torch.where(x > jump, 1.0, 0.0).double() * (1 + 0 * x))
    assert m.second_moment == pytest.approx(tail(jump), rel=m.error + 4e-16)
    assert m.mean == pytest.approx(tail(jump), rel=m.error + 4e-16)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.001, 3.0))
def test_hardshrink_thresholds_are_found_and_its_jumps_have_no_slope(threshold: float) -> None:
    m = activation_moments(nn.Hardshrink(threshold))
    outside = 2 * tail(threshold)
    assert m.second_moment == pytest.approx(outside + 2 * threshold * density(threshold), rel=m.error + 4e-15)
    assert m.slope_second_moment == pytest.approx(outside, rel=m.error + 4e-15)


@settings(deadline=None, max_examples=20)
# Near −1 it is |x|, whose odd part cancels: that gain is then known to fewer digits, as its error says.
@given(st.floats(-2, 2).filter(lambda slope: abs(slope) > 1e-3 and abs(1 + slope) > 1e-2))
def test_learned_slopes_of_a_prelu_are_read(slope: float) -> None:
    module = nn.PReLU(init=slope)
    learned = module.weight.item()  # rounded to float32
    assert_within_its_error(module, (1 + learned**2) / 2)


def test_a_prelu_per_channel_is_the_mean_over_its_channels() -> None:
    module = nn.PReLU(3)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.0, 0.5, 1.0]))
    assert_within_its_error(module, (1 + (0.0 + 0.25 + 1.0) / 3) / 2)


class Swish(nn.Module):
    """With one β per channel of (N, C, L)."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor([0.5, 1.0, 2.0]).view(1, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.beta * x)


def test_parameters_of_any_layout_are_understood() -> None:
    singles = [activation_moments(f"silu({beta})").second_moment for beta in (0.5, 1, 2)]
    assert activation_moments(Swish()).second_moment == pytest.approx(sum(singles) / 3, rel=1e-14)


@pytest.mark.parametrize(
    ("f", "second_moment"),
    [
        (lambda x: torch.exp(5 * x), math.exp(50)),
        (lambda x: torch.exp(x * x / 5), math.sqrt(5)),
        (lambda x: x**5, 945.0),
        (lambda x: torch.sin(100 * x), 0.5),
        (lambda x: torch.log(x.abs()), (math.log(2) + np.euler_gamma) ** 2 / 4 + math.pi**2 / 8),
        (lambda x: x.sign() * x.abs().sqrt(), math.sqrt(2 / math.pi)),
        (lambda x: x.abs() ** 0.01, 2**0.01 * math.gamma(0.51) / math.sqrt(math.pi)),
        (lambda x: 3.0, 9.0),
        (lambda x: (x > 0).long(), 0.5),
        (np.tanh, 0.39429449039746),
        (lambda x: torch.relu(x.detach()), 0.5),
        (nn.Tanh(), 0.39429449039746),
        (nn.ReLU, 0.5),
        (nn.Sequential(nn.ReLU(), nn.Dropout(0.5)), 0.5),
    ],
)
def test_any_callable_is_within_its_error(f: Callable[[torch.Tensor], torch.Tensor], second_moment: float) -> None:
    m = activation_moments(f)
    assert m.error <= 1e-6
    assert m.second_moment == pytest.approx(second_moment, rel=m.error + 1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_function_of_low_precision_reports_that_precision(dtype: torch.dtype) -> None:
    m = activation_moments(lambda x: torch.tanh(x.to(dtype)))
    exact = activation_moments("tanh")
    assert torch.finfo(dtype).eps <= m.error <= 16 * torch.finfo(dtype).eps
    assert m.gain == pytest.approx(exact.gain, rel=m.error)
    assert m.chi == pytest.approx(exact.chi, rel=2 * m.error)


def test_a_function_that_only_takes_float32_is_measured_in_float32() -> None:
    weight = torch.tensor([0.25])
    assert gain(lambda x: nn.functional.prelu(x, weight)) == pytest.approx(math.sqrt(2 / 1.0625), rel=1e-6)


def test_hidden_float32_noise_shows_in_the_error() -> None:
    m = activation_moments(lambda x: torch.tanh(x.float()).double())
    assert 1e-10 < m.error < 1e-6
    assert m.gain == pytest.approx(gain("tanh"), rel=m.error)


def test_an_infinite_slope_moment_is_called_infinite() -> None:
    assert math.isinf(activation_moments(lambda x: x.sign() * x.abs().sqrt()).chi)
    assert math.isinf(activation_moments(lambda x: (x - 1).abs().sqrt()).chi)


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x: torch.exp(x * x), "does not exist|overflows"),
        (lambda x: torch.exp(x * x / 4), "does not exist"),
        (torch.log, "nan at z = -"),
        (lambda x: torch.log(x - 1), "nan at z"),
        (lambda x: 1 / x, "does not exist"),
        (lambda x: 1 / (x - 1), "does not exist"),
        (lambda x: x.abs() ** -0.5, "does not exist"),
        (lambda x: (x - 1).abs() ** -0.5, "does not exist"),
        (lambda x: x / 0, "inf|nan"),
        (lambda x: 0 * x, "second moment is zero"),
        (lambda x: 0.0, "second moment is zero"),
        (lambda x: x * torch.rand_like(x), "random"),
        (lambda x: nn.functional.dropout(x, 0.5), "random"),
        (nn.Softmax(dim=-1), "other elements"),
        (nn.LayerNorm(7), "other elements"),
        (lambda x: x.cumsum(0), "other elements"),
        (lambda x: x * torch.arange(len(x)), "other elements"),
        (lambda a, b: a * b, "one tensor|shape"),
        (lambda x: torch.view_as_complex(torch.stack([x, x], -1)), "complex"),
        (lambda x: (x, x), "one tensor"),
        (lambda x, y: x, "one tensor"),
        (lambda x: x.nothing(), "AttributeError"),
        (lambda x: x.sum(), "other elements"),
        (nn.PReLU(device="meta"), "meta device"),
        (nn.Threshold, "give an instance"),
        (3, "got int"),
        (None, "got NoneType"),
    ],
)
def test_what_has_no_gain_is_refused_with_the_reason(f: object, reason: str) -> None:
    with pytest.raises(GainError, match=reason):
        activation_moments(f)
    if f is not None:
        with pytest.raises(GainError, match=reason):
            gain_of(f)


def test_a_module_is_left_as_it_was_found() -> None:
    seen = []
    module = nn.Sequential(nn.PReLU(), nn.Dropout(0.5), nn.RReLU(), nn.ReLU(inplace=True)).train()
    module[0].register_forward_hook(lambda *_: seen.append(1))
    before, rng, hooks = copy.deepcopy(module.state_dict()), torch.get_rng_state(), dict(module[0]._forward_hooks)
    activation_moments(module)
    assert not seen
    assert module.training
    assert all(part.training for part in module)
    assert module[0]._forward_hooks == hooks
    assert module[0].weight.dtype == torch.float32
    assert module[0].weight.grad is None
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)


def test_the_random_state_is_kept_even_where_the_function_is_random() -> None:
    rng = torch.get_rng_state()
    with pytest.raises(GainError):
        gain(lambda x: x + torch.randn_like(x))
    assert torch.equal(torch.get_rng_state(), rng)


def test_settings_of_the_caller_change_nothing() -> None:
    f = nn.Mish()
    expected = gain(f)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert gain(f) == expected
        assert activation_moments(lambda x: torch.tanh(1 * x)).chi == activation_moments("tanh").chi
    with torch.no_grad(), torch.device("meta"):
        assert gain(f) == expected
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float16)
        assert gain(f) == expected
    finally:
        torch.set_default_dtype(default)


def test_a_straight_through_estimator_is_measured_by_the_slope_it_backpropagates() -> None:
    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sign()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    m = activation_moments(Sign.apply)
    assert (m.second_moment, m.slope_second_moment) == pytest.approx((1, 1), rel=m.error)
