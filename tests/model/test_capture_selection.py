"""Selections and extremes: by data they are nonlinear, by a mask from outside they only pass on."""

import pytest
import torch
from torch import nn

from onesigma.model.capture import capture
from onesigma.model.graph import Call

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    """A function between two linears."""

    def __init__(self, function):
        super().__init__()
        self.first, self.second, self.function = nn.Linear(4, 4), nn.Linear(4, 2), function

    def forward(self, x):
        return self.second(self.function(self.first(x)))


def between(function) -> list[Call]:
    return list(capture(Between(function), X).calls[1:-1])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.masked_fill(x < 0, 0.0),
        lambda x: x * (x > 0),
        lambda x: x * (x > 0).to(x.dtype),
        lambda x: x * x.sign(),
        lambda x: torch.maximum(x, torch.zeros(())),
        lambda x: torch.fmin(x, torch.ones_like(x)),
        lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        torch.round,
    ],
)
def test_what_selects_by_the_data_is_a_nonlinearity(function):
    assert between(function)[-1].kind == "activation"


@pytest.mark.parametrize(
    ("function", "same"),
    [
        (lambda x: torch.maximum(x, torch.tensor(0.5)), lambda x: x.clamp(min=0.5)),
        (lambda x: torch.minimum(torch.tensor([0.5]), x), lambda x: x.clamp(max=0.5)),
        (lambda x: torch.logaddexp(x, torch.zeros(())), nn.functional.softplus),
        (lambda x: torch.clamp(x, torch.tensor(-1.0), torch.tensor(2.0)), lambda x: x.clamp(-1, 2)),
    ],
)
def test_an_extreme_of_a_signal_and_a_number_is_a_function_of_one_tensor(function, same):
    torch.testing.assert_close(between(function)[-1].function(X), same(X))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(torch.ones(4, dtype=torch.bool), x, 0.0),
        lambda x: x.masked_fill(torch.eye(5, 4) > 0, 0.0),
        lambda x: torch.where(x.isnan(), torch.zeros(()), x),
    ],
)
def test_what_selects_by_a_mask_from_elsewhere_passes_on(function):
    (call,) = between(function)
    assert call.kind == "shape"


def test_two_signals_that_a_mask_chooses_from_are_a_mixture_and_their_larger_one_a_reduction():
    mask = torch.ones(4, dtype=torch.bool)
    assert between(lambda x: torch.where(mask, x, x + 1))[-1].kind == "concat"
    assert between(lambda x: torch.maximum(x, x + 1))[-1].kind == "reduce"


def test_a_module_whose_mask_is_made_of_nothing_is_no_unknown_call():
    class Noisy(nn.Module):
        def forward(self, x):
            return x * 2, torch.rand(5).argsort(), torch.zeros(5) + torch.rand(5)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.noisy, self.head = Noisy(), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.noisy(x)[0])

    assert [call.kind for call in capture(Model(), X).calls] == ["scale", "linear"]


def test_positions_of_the_models_own_making_go_through_a_layer():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.low, self.high = (nn.Parameter(torch.randn(4, 4)) for _ in range(3))

        def forward(self, x):
            places = torch.arange(20.0).reshape(5, 4).sin()
            return x @ (self.low @ self.high) + torch.einsum("ni,io->no", places, self.weight)

    calls = capture(Positions(), X).calls
    assert [(call.kind, call.parameters.get("weight"), call.inputs) for call in calls] == [
        ("linear", "low", (-1,)),
        ("linear", "weight", ()),
        ("join", None, (0, 1)),
    ]


def test_writing_into_a_view_of_zeros_makes_the_whole_a_result():
    def write(x):
        out = torch.zeros(5, 4)
        out[:, :2].copy_(x[:, :2])
        return out

    graph = capture(Between(write), X)
    assert graph.source(graph.calls[-1]).end.op == "linear"


def test_grouped_products_with_experts_are_linear():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 8, 16))

        def forward(self, x):
            return torch._grouped_mm(x, self.weight.transpose(-2, -1), offs=torch.tensor([3, 8], dtype=torch.int32))

    (call,) = (c for c in capture(Experts(), torch.randn(8, 16)).calls if c.kind != "shape")
    assert (call.op, call.kind, call.fan_in, call.fan_out) == ("grouped_mm", "linear", 16, 8)


def test_names_agree_with_those_of_the_random_streams():
    from onesigma.model.names import canonical_name, parameter_names
    from onesigma.numbers import keys

    assert canonical_name is keys.canonical_name
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    assert list(parameter_names(normed)) == ["0.bias", "0.weight", "0.weight.original1"]

    class Wrapping(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)

    # A module that is called so by its author is no wrapper: records and parameters name it alike.
    assert list(parameter_names(Wrapping())) == ["module.weight", "module.bias"]
